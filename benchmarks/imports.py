"""How long a function's import takes over a bare interpreter: the part of a cold start that is ours.

Fresh processes, one after the other in turns, so that a machine that drifts drifts for all of them; medians
of the CPU time, which is nearly all of an import and doesn't count what else the machine is doing.
The code is what `make run` deploys, byte-compiled, on the engine's interpreter.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from local.engine import PYTHON

ROUNDS = 11
BARE = "pass"
# What the functions would import without any care: the baseline that they are compared with side by side.
PLAIN = (
    "import boto3, pydantic; "
    "[boto3.client(name, region_name='us-east-1') for name in ('dynamodb', 'sns', 'sqs')]"
)
CLIENTS = {
    "OrderApiFunction": ("dynamodb", "sns"),
    "AccountApiFunction": ("dynamodb",),
    "StockApiFunction": ("dynamodb",),
    "BalanceCheckerFunction": ("dynamodb", "sqs"),
    "StockCheckerFunction": ("dynamodb", "sqs"),
    "OrderUpdateFunction": ("dynamodb", "sqs", "sns"),
    "ShipOrderFunction": ("dynamodb",),
}


@dataclass(frozen=True)
class ImportTime:
    """Milliseconds of CPU over a bare interpreter: to import the function, and with its clients made."""

    function: str
    imported: float
    with_clients: float
    share_of_plain: float


def measure(build: Path) -> list[ImportTime]:
    """Import every function that was built in `build`."""
    programs = {"bare": BARE, "plain": PLAIN}
    for function, clients in CLIENTS.items():
        imported = "import app"
        made = "".join(f"; client({name!r})" for name in clients)
        programs[function] = imported
        programs[f"{function}+"] = f"{imported}; from order_capture.adapters.aws_clients import client{made}"
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            times[name].append(_run(build, name.removesuffix("+"), program))
    bare = statistics.median(times["bare"])
    over_bare = {name: (statistics.median(each) - bare) * 1000 for name, each in times.items()}
    return [
        ImportTime(
            function,
            over_bare[function],
            over_bare[f"{function}+"],
            over_bare[f"{function}+"] / over_bare["plain"],
        )
        for function in CLIENTS
    ]


def _run(build: Path, function: str, program: str) -> float:
    path = [build / function, build / "OrderCaptureLayer/python", build / "DependenciesLayer/python"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(each) for each in path),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    process = subprocess.Popen([PYTHON, "-c", program], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{function} could not be imported")
    return usage.ru_utime + usage.ru_stime
