"""Processes for functions that are forked from one that has imported boto3 and the functions' dependencies.

A process that starts from nothing takes 0.3 s of a core, most of it for importing what all functions have in
common and for parsing botocore's service models. `ForkServer` starts such a process for a set of layers and
has it fork; run as a program, this module is that process. It needs nothing of ministack.

What is imported ahead is of the same files that the function itself would import: the server has the
function's layers on its path, and is another one when they change. Code of ours, in functions and layers, is
never imported ahead: it reads its settings when it is imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from types import CodeType
from typing import IO, Any, NoReturn

IS_SUPPORTED = sys.platform == "linux"
"""Elsewhere a process forked without exec can fail: on macOS in the system's own libraries, for one."""

PRELOADED = (
    "boto3",
    "botocore.httpsession",
    "aws_lambda_powertools",
    "aws_lambda_powertools.logging",
    "aws_lambda_powertools.metrics",
    "aws_lambda_powertools.utilities.batch",
    "aws_lambda_powertools.utilities.data_classes",
    "aws_lambda_powertools.utilities.parser",
    "pydantic",
    "simplejson",
)
"""What is imported ahead, as far as the engine's environment or the layers have it."""

_PACKAGES = {name.partition(".")[0] for name in PRELOADED} | {
    # What these import in their turn.
    *("annotated_types", "dateutil", "jmespath", "pydantic_core", "s3transfer", "six"),
    *("typing_extensions", "typing_inspection", "urllib3"),
}

_SERVICES = (
    "dynamodb",
    "sns",
    "sqs",
)  # whose models are parsed ahead: every function has one of their clients


def brings_preloaded(directory: Path) -> bool:
    """Whether a directory has one of the packages that are imported ahead, or that those import."""
    return directory.is_dir() and any(
        each.name.partition(".")[0] in _PACKAGES for each in directory.iterdir()
    )


class ForkServer:
    """The process from which those of all functions with the same layers are forked.

    Args:
        python: the interpreter, whose packages the functions have.
        layers: the folders of the layers, in their order.
    """

    def __init__(self, python: str, layers: Iterable[str]) -> None:
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # nosec B603 # our own program, with our own folders
                [python, "-P", __file__, *layers], stdin=theirs.fileno()
            )

    def is_running(self) -> bool:
        """Whether it can still fork."""
        return self._process.poll() is None

    def fork(self, program: str, directory: str, environment: Mapping[str, str]) -> ForkedProcess:
        """Start a process that runs a program, a file of Python, in a directory, with this environment only.

        Raises:
            OSError: the server has ended.
        """
        order = Path(program).with_suffix(".json")
        order.write_text(
            json.dumps({"program": program, "directory": directory, "environment": {**environment}})
        )
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        from_stderr, stderr = os.pipe()
        from_status, status = os.pipe()
        theirs, ours = (stdin, stdout, stderr, status), (to_stdin, from_stdout, from_stderr, from_status)
        try:
            socket.send_fds(self._control, [os.fsencode(order)], theirs)
        except OSError:
            for each in ours:
                os.close(each)
            raise
        finally:
            for each in theirs:
                os.close(each)
        return ForkedProcess(*ours)

    def stop(self) -> None:
        """End it. The processes that it has forked go on."""
        self._control.close()


class ForkedProcess:
    """A process of a fork server, with the part of `subprocess.Popen` that ministack uses.

    It is no child of this process, so the server says by a pipe which one it is and how it has ended; the end
    of the pipe means that the server itself was killed, with which the process counts as killed.
    """

    def __init__(self, stdin: int, stdout: int, stderr: int, status: int) -> None:
        self.stdin: IO[str] = os.fdopen(stdin, "w", buffering=1, encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(stdout, encoding="utf-8")
        self.stderr: IO[str] = os.fdopen(stderr, encoding="utf-8", errors="replace")
        self._status: IO[str] = os.fdopen(status)
        self.returncode: int | None = None
        pid = self._status.readline()
        if not pid:
            self.returncode = -signal.SIGKILL
            raise OSError("The fork server has ended.")
        self.pid = int(pid)
        self.started = time.monotonic()

    def poll(self) -> int | None:
        """How it has ended, as `subprocess.Popen.returncode`; None if it runs."""
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs on for that many seconds.
        """
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ended_within(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            poll = select.poll()  # `select.select` takes no descriptors above 1023
            poll.register(self._status.fileno(), select.POLLIN)
            if poll.poll(None if seconds is None else seconds * 1000):
                self.returncode = int(self._status.readline() or -signal.SIGKILL)
        return self.returncode


# ---------------------------------------------------------------- the server's process
_MAX_PATH = 4096  # bytes, of Linux


def _paths(layers: Iterable[str]) -> list[str]:
    """Where Python finds the packages of layers, in the order in which ministack's program adds them."""
    found: list[str] = []
    for layer in layers:
        found = [layer, *(each for each in [f"{layer}/python"] if Path(each).is_dir()), *found]
    return found


def preload(layers: Iterable[str]) -> None:
    """Import and parse what the processes have in common."""
    path = [*sys.path]
    sys.path[:0] = _paths(layers)
    for name in PRELOADED:
        with contextlib.suppress(Exception):  # the function that needs it will say why it can't have it
            importlib.import_module(name)
    sys.path[:] = path
    with contextlib.suppress(Exception):
        _parse_models()
    with contextlib.suppress(Exception):
        _name_client_once()
    # What is there by now stays: nobody needs to look for garbage in it, or to copy its pages for that.
    gc.collect()
    gc.freeze()


def _parse_models() -> None:
    """Have botocore find its service models parsed when a process makes its first session.

    Each of them is handed out once: a client may change what it has, and the next session parses its own.
    """
    import boto3
    from botocore.loaders import JSONFileLoader

    load = JSONFileLoader.load_file
    loaded: list[str] = []

    def note(loader: Any, path: str) -> Any:
        loaded.append(path)
        return load(loader, path)

    JSONFileLoader.load_file = note  # type: ignore[assignment, method-assign]
    session: Any = boto3.Session("-", "-", region_name="us-east-1")
    for service in _SERVICES:
        # What a client imports and compiles when it is made is then there, too. It connects to nothing.
        session.client(service, endpoint_url="http://127.0.0.1:9")
    parsed = {path: load(JSONFileLoader(), path) for path in loaded}

    def take(loader: Any, path: str) -> Any:
        found = parsed.pop(path, None)
        return load(loader, path) if found is None else found

    JSONFileLoader.load_file = take  # type: ignore[assignment, method-assign]


def _name_client_once() -> None:
    """Have each client put together its `User-Agent`, of which the engine reads nothing, once.

    botocore does so twice a request, which is a sixth of what a request costs it.
    """
    from botocore.useragent import UserAgentString

    UserAgentString.to_string = cache(UserAgentString.to_string)  # type: ignore[method-assign]


def serve(control: socket.socket) -> None:
    """Fork a process for each order, until the other end is closed."""
    running: dict[int, int] = {}  # the pipe for each process's end, by pid
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                woken.recv(4096)
            _reap(running)
        if control in ready:
            order, descriptors = _receive(control)
            if not order:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (control, woken, waker):
                    end.close()
                for status in [*running.values(), descriptors[3]]:
                    os.close(status)
                _run(order, *descriptors[:3])
            for each in descriptors[:3]:
                os.close(each)
            running[pid] = descriptors[3]
            _say(descriptors[3], pid)


def _receive(control: socket.socket) -> tuple[str, list[int]]:
    """The next order and its descriptors; an empty one at the end."""
    order, descriptors, _, _ = socket.recv_fds(control, _MAX_PATH, 4)
    return os.fsdecode(order), descriptors


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        pipe = running.pop(pid)
        _say(pipe, os.waitstatus_to_exitcode(status))
        os.close(pipe)


def _say(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(pipe, f"{number}\n".encode())


def _run(order: str, *standard: int) -> NoReturn:
    """Become the process that was ordered."""
    code = 1
    try:
        for number, each in enumerate(standard):
            os.dup2(each, number)
            os.close(each)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(
            2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        content = json.loads(Path(order).read_text())
        Path(order).unlink()  # it has the function's credentials
        os.environ.clear()
        os.environ.update(content["environment"])
        time.tzset()
        os.chdir(content["directory"])
        program = content["program"]
        sys.argv = [program]
        sys.path.insert(0, str(Path(program).parent))
        exec(_compiled(Path(program).read_text()), {"__name__": "__main__", "__file__": program})  # nosec B102
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # the server's own end is not this process's


@lru_cache(1)
def _compiled(program: str) -> CodeType:
    return compile(program, "_worker.py", "exec")


def main() -> None:
    """Serve the one who has started this process, at its standard input, and end with it."""
    control = socket.socket(fileno=os.dup(0))
    preload(sys.argv[1:])
    serve(control)


if __name__ == "__main__":
    main()
