"""The patches of ministack, tested in the engine's own environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from local.engine import PYTHON, ROOT
from tests.support.absent import absent


@pytest.fixture(autouse=True)
def installed() -> None:
    if not PYTHON.exists():
        absent("the engine is not installed: make setup")


def printed(directory: Path, source: str) -> Any:
    """The JSON output of a program in the engine's environment."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "PYTHONPATH": str(ROOT),
        "STATE_DIR": str(directory),
    }
    answer = subprocess.run(
        [PYTHON, "-P", "-c", "import json\n" + dedent(source)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_a_copy_of_an_item_shares_nothing_with_it(tmp_path: Path) -> None:
    """A failed transaction would otherwise leave its changes in the table."""
    found = printed(
        tmp_path,
        """
        from local import engine_shortcuts
        from ministack.services import dynamodb
        engine_shortcuts.install()
        item = {"id": {"S": "a"}, "logs": {"L": [{"M": {"n": {"N": "1"}}}]}, "set": {"SS": ["x"]}}
        copy = dynamodb.copy.deepcopy(item)
        equal = copy == item
        copy["logs"]["L"][0]["M"]["n"]["N"] = "2"
        copy["set"]["SS"].append("y")
        print(json.dumps([equal, item["logs"]["L"][0]["M"]["n"]["N"], item["set"]["SS"]]))
        """,
    )
    assert found == [True, "1", ["x"]]


def test_what_is_remembered_of_an_expression_is_each_callers_own(tmp_path: Path) -> None:
    """ministack removes tokens from the list that it parses."""
    before, after = printed(
        tmp_path,
        """
        from local import engine_shortcuts
        from ministack.services import dynamodb
        engine_shortcuts.install()
        text = "attribute_exists(orderId) AND version = :v"
        first = dynamodb._tokenize(text)
        before = [str(each) for each in first]
        first.clear()
        print(json.dumps([before, [str(each) for each in dynamodb._tokenize(text)]]))
        """,
    )
    assert before == after != []


@pytest.mark.parametrize("number", ["0", "-12.50", "1e3", "nonsense", "9" * 38])
def test_numbers_are_of_the_same_size_when_it_is_remembered(tmp_path: Path, number: str) -> None:
    plain, first, again = printed(
        tmp_path,
        f"""
        from local import engine_shortcuts
        from ministack.services import dynamodb
        size = lambda: dynamodb._item_size_bytes({{"n": {{"N": {number!r}}}}})
        plain = size()
        engine_shortcuts.install()
        print(json.dumps([plain, size(), size()]))
        """,
    )
    assert plain == first == again > 0


def test_a_batch_holds_as_many_messages_as_its_source_says(tmp_path: Path) -> None:
    """ministack cuts it to ten; a message that is not visible yet is in none."""
    found = printed(
        tmp_path,
        """
        import time
        from local import engine_sources
        from ministack.services import sqs
        now = time.time()
        messages = [{"body": "{}", "visible_at": now - 1}] * 25 + [{"body": "{}", "visible_at": now + 60}]
        queue = {"messages": messages, "attributes": {}}
        sqs._get_q, sqs._expire_retained, sqs._dlq_sweep = lambda _: queue, lambda _: None, lambda _: None
        asked = []
        sqs._collect_msgs = lambda queue, count, hidden: asked.append((count, hidden)) or []
        for at_most in (100, 20):
            engine_sources._receive_batch("url", at_most)
        sqs._queue_by_arn = lambda _: queue
        waiting, seconds = engine_sources._messages({"EventSourceArn": "arn"}, now)
        print(json.dumps([asked, waiting, round(seconds)]))
        """,
    )
    assert found == [[[25, 30], [20, 30]], 25, 60]


def test_the_head_and_the_body_of_a_response_are_one_packet(tmp_path: Path) -> None:
    found = printed(
        tmp_path,
        """
        import asyncio
        from local.engine_server import _JoinedWrites

        class Transport:
            sent, is_open = [], True
            def write(self, data): self.sent.append(data.decode())
            def close(self): self.sent.append("closed")
            def is_closing(self): return False

        async def serve():
            connection = _JoinedWrites(Transport())
            connection.write(b"head "), connection.write(b"body")
            await asyncio.sleep(0)
            connection.write(b"last")
            connection.close()
            await asyncio.sleep(0)
            return connection.is_closing()

        print(json.dumps([asyncio.run(serve()), Transport.sent]))
        """,
    )
    assert found == [False, ["head body", "last", "closed"]]


def test_a_mapping_that_is_disabled_gets_no_batch(tmp_path: Path) -> None:
    found = printed(
        tmp_path,
        """
        from local import engine_sources
        from ministack.services import lambda_svc
        taken = []
        engine_sources._messages = lambda *_: (5, 1.0)
        engine_sources._limit = lambda _: 5
        lambda_svc._poll_sqs = lambda: taken.append(engine_sources._mapping.get()[2]["UUID"]) or True
        mapping = lambda name, **more: {"UUID": name, "EventSourceArn": f"arn:aws:sqs:::{name}", **more}
        poll = lambda each: engine_sources._poll_one("0" * 12, "us-east-1", each, idle=True)
        begun = [poll(mapping("on"))[0], poll(mapping("off", Enabled=False))[0]]
        print(json.dumps([begun, taken, engine_sources._mapping.get()]))
        """,
    )
    assert found == [[True, False], ["on"], None]


def test_one_source_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    found = printed(
        tmp_path,
        """
        from local import engine_sources
        def fails(*_): raise ValueError("of this source")
        engine_sources._messages = fails
        mapping = {"UUID": "1", "EventSourceArn": "arn:aws:sqs:::queue"}
        print(json.dumps(engine_sources._poll_one("0" * 12, "us-east-1", mapping, idle=True)))
        """,
    )
    assert found == [False, 1.0]


def test_a_calls_log_is_all_that_it_printed_and_ends_there(tmp_path: Path) -> None:
    """A silent function causes no wait; the next one's output is not mixed in."""
    log = printed(
        tmp_path,
        r"""
        import io
        from types import SimpleNamespace
        from queue import Queue
        from local import engine_functions
        worker = SimpleNamespace(config={"Runtime": "python3.13"}, _stderr_queue=Queue())
        for line in ("first", "second", "\0", "\0", "next", "\0"):
            worker._stderr_queue.put(line)
        print(json.dumps([engine_functions._log_of_call(worker) for _ in range(3)]))
        """,
    )
    assert log == ["first\nsecond", "", "next"]


def test_layers_are_unpacked_once_for_all_processes(tmp_path: Path) -> None:
    same, other, text = printed(
        tmp_path,
        """
        import io, zipfile
        from local import engine_functions
        def layer(text):
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as packed:
                packed.writestr("python/it.py", text)
            return engine_functions._unpacked(content.getvalue())
        first = layer("a")
        print(json.dumps([first == layer("a"), first == layer("b"), (first / "python/it.py").read_text()]))
        """,
    )
    assert (same, other, text) == (True, False, "a")


def test_functions_are_forked_unless_they_bring_what_is_imported_ahead(tmp_path: Path) -> None:
    """A function with its own boto3 must get that one."""
    found = printed(
        tmp_path,
        """
        from pathlib import Path
        from local import engine_functions
        engine_functions.IS_SUPPORTED = True
        engine_functions._fork = lambda *_: "forked"
        engine_functions.subprocess.Popen = lambda *_, **more: "started"
        Path("plain").mkdir()
        Path("own/boto3").mkdir(parents=True)
        start = lambda directory, program: engine_functions._SubprocessOrFork.Popen(
            ["python", program], cwd=directory, env={})
        python, node = "/t/_worker.py", "/t/_worker.mjs"
        print(json.dumps([start("plain", python), start("own", python), start("plain", node)]))
        """,
    )
    assert found == ["forked", "started", "started"]


def test_a_server_serves_all_functions_with_the_same_dependencies(tmp_path: Path) -> None:
    """Layers with our code change with each release, those with dependencies rarely."""
    made, stopped = printed(
        tmp_path,
        """
        from pathlib import Path
        from local import engine_functions
        for name in ("dependencies-1", "dependencies-2", "dependencies-3", "dependencies-4"):
            Path(name, "python/pydantic").mkdir(parents=True)
        for name in ("ours-1", "ours-2"):
            Path(name, "python/ours").mkdir(parents=True)
        made, stopped = [], []
        class Server:
            def __init__(self, python, layers): self.layers = layers; made.append(layers)
            def is_running(self): return True
            def fork(self, *_): return "forked"
            def stop(self): stopped.append(self.layers)
        engine_functions.ForkServer = Server
        def start(*layers):
            return engine_functions._fork("python", "p", ".", {"_LAMBDA_LAYERS_DIRS": ":".join(layers)})
        start("dependencies-1", "ours-1"); start("dependencies-1", "ours-2")
        start("dependencies-2"); start("dependencies-3"); start("dependencies-1"); start("dependencies-4")
        print(json.dumps([made, stopped]))
        """,
    )
    assert made == [[f"dependencies-{number}"] for number in (1, 2, 3, 4)]
    assert stopped == [["dependencies-2"]]


def test_a_process_with_other_code_than_its_function_has_now_is_replaced(tmp_path: Path) -> None:
    """While `make dev` runs, a function's code changes with each saved file."""
    same, other, left = printed(
        tmp_path,
        """
        import time
        from pathlib import Path
        from types import SimpleNamespace
        from ministack.core import lambda_runtime
        from local import engine_functions
        from local.engine_checkout import Code, replacing
        lambda_runtime.kill_workers = lambda workers: None
        engine_functions.install(Path.cwd())
        config = {"FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:one"}
        def process():
            worker, _ = lambda_runtime.acquire_worker("one", config, b"", qualifier="3")
            lambda_runtime.release_worker(worker)
            return worker
        with replacing(Path.cwd()) as replace:
            replace({"one": Code(1, "f", "l")})
            first = process()
            same = process() is first
            replace({"one": Code(2, "f", "l")})
            second = process()
        third = process()
        left = [third] == [each for entries in lambda_runtime._workers.values() for each in entries]
        print(json.dumps([same, second is not first and third is not second, left]))
        """,
    )
    assert (same, other, left) == (True, True, True)
