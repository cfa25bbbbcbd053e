"""A killed test run leaves no engine and no function process behind."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from local.engine import ROOT

# Starts an engine with a function that works for a long time, and names their processes.
RUN = """
import io, sys, time, zipfile
import psutil
from local import stack
from local.engine import fresh

with fresh() as engine:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as code:
        code.writestr("app.py", "import time\\ndef handler(event, context):\\n    time.sleep(300)\\n")
    aws = stack.session(engine)
    trust = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", \
        "Principal": {"Service": "lambda.amazonaws.com"}}]}'
    roles = aws.client("iam", endpoint_url=engine.url)
    role = roles.create_role(RoleName="r", AssumeRolePolicyDocument=trust)
    functions = aws.client("lambda", endpoint_url=engine.url)
    functions.create_function(
        FunctionName="sleeper", Runtime="python3.13", Handler="app.handler", Role=role["Role"]["Arn"],
        Code={"ZipFile": packed.getvalue()}, Timeout=600,
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="sleeper")
    functions.invoke(FunctionName="sleeper", InvocationType="Event")
    process = psutil.Process(engine.pid)
    while not any("ministack-lambda" in each.cwd() for each in process.children(recursive=True)):
        time.sleep(0.05)
    print(engine.pid, *(each.pid for each in process.children(recursive=True)), flush=True)
    time.sleep(300)
"""


def test_a_killed_run_leaves_nothing() -> None:
    # given
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    processes = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
    assert len(processes) >= 3, "an engine, its guardian, and a function"
    # when
    run.kill()
    run.wait()
    # then
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


def test_a_killed_engine_leaves_nothing() -> None:
    # given
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    engine, *others = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
    try:
        # when
        engine.kill()
        # then
        deadline = time.monotonic() + 10
        while any(each.is_running() for each in others) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [each for each in others if each.is_running()] == []
    finally:
        run.kill()
        run.wait()
