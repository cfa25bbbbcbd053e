"""Function processes, forked from one that has already imported boto3 and the functions' dependencies.

A new process takes 0.3 s of a core, most of it for imports that all functions share and for parsing
botocore's service models. `ForkServer` starts one such process per set of layers, and lets it fork; run as a
program, this module is that process. It does not need ministack.

Preloaded modules come from the same files that the function itself would import: the server has the
function's layers on its path, and is replaced when they change. Our own code, in functions and layers, is
never preloaded: it reads its settings at import.
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
"""On other systems a process forked without exec can fail: on macOS, for example, in system libraries."""

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
"""The preloaded modules, if the engine's environment or the layers have them."""

_PACKAGES = {name.partition(".")[0] for name in PRELOADED} | {
    # Their own imports.
    *("annotated_types", "dateutil", "jmespath", "pydantic_core", "s3transfer", "six"),
    *("typing_extensions", "typing_inspection", "urllib3"),
}

_SERVICES = (
    "dynamodb",
    "sns",
    "sqs",
)  # whose models are parsed ahead: every function has at least one of these clients


def brings_preloaded(directory: Path) -> bool:
    """Whether a directory has one of the preloaded packages, or of those that they import."""
    return directory.is_dir() and any(
        each.name.partition(".")[0] in _PACKAGES for each in directory.iterdir()
    )


class ForkServer:
    """The process from which all functions with the same layers are forked.

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
        """Start a process that runs a Python file in a directory, with this environment only.

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
        """End it. The processes that it forked keep running."""
        self._control.close()


class ForkedProcess:
    """A process of a fork server, with the part of `subprocess.Popen` that ministack uses.

    It is not a child of this process, so the server reports its pid and exit code through a pipe. If the pipe
    closes, the server itself was killed, and the process counts as killed too.
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
        """Its exit code, as `subprocess.Popen.returncode`; None while it runs."""
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it is still running after that many seconds.
        """
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
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
    """The paths of the layers' packages, in the order in which ministack's program adds them."""
    found: list[str] = []
    for layer in layers:
        found = [layer, *(each for each in [f"{layer}/python"] if Path(each).is_dir()), *found]
    return found


def preload(layers: Iterable[str]) -> None:
    """Import and parse what the processes share."""
    path = [*sys.path]
    sys.path[:0] = _paths(layers)
    for name in PRELOADED:
        with contextlib.suppress(Exception):  # the function that needs it will report the error
            importlib.import_module(name)
    sys.path[:] = path
    with contextlib.suppress(Exception):
        _parse_models()
    with contextlib.suppress(Exception):
        _name_client_once()
    # Existing objects stay: collecting garbage among them would be useless, and would copy their pages.
    gc.collect()
    gc.freeze()


def _parse_models() -> None:
    """Give botocore its parsed service models when a process creates its first session.

    Each model is used once: a client may modify it, so the next session parses again.
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
        # This also preloads what a client imports and compiles at creation. It does not connect.
        session.client(service, endpoint_url="http://127.0.0.1:9")
    parsed = {path: load(JSONFileLoader(), path) for path in loaded}

    def take(loader: Any, path: str) -> Any:
        found = parsed.pop(path, None)
        return load(loader, path) if found is None else found

    JSONFileLoader.load_file = take  # type: ignore[assignment, method-assign]


def _name_client_once() -> None:
    """Build each client's `User-Agent`, which the engine ignores, only once.

    botocore builds it twice per request, a sixth of its cost of a request.
    """
    from botocore.useragent import UserAgentString

    UserAgentString.to_string = cache(UserAgentString.to_string)  # type: ignore[method-assign]


def serve(control: socket.socket) -> None:
    """Fork a process for each request, until the other end is closed."""
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
    """The next request and its descriptors; an empty one at the end."""
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
    with contextlib.suppress(BrokenPipeError):  # the client has gone
        os.write(pipe, f"{number}\n".encode())


def _run(order: str, *standard: int) -> NoReturn:
    """Become the requested process."""
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
        os._exit(code)  # skips the server's exit handlers


@lru_cache(1)
def _compiled(program: str) -> CodeType:
    return compile(program, "_worker.py", "exec")


def main() -> None:
    """Serve the parent process over standard input, and end with it."""
    control = socket.socket(fileno=os.dup(0))
    preload(sys.argv[1:])
    serve(control)


if __name__ == "__main__":
    main()
