"""The processes that run the engine's functions: how they start, are assigned, and report their logs.

Changes ministack where it is slow on a laptop: a process takes a second of a core to start, and each
invocation waits for the end of its log. It runs in the engine's environment.
"""

import contextlib
import hashlib
import io
import os
import subprocess
import tempfile
import time
import zipfile
from collections import deque
from pathlib import Path
from queue import Empty
from threading import Condition, Lock, Thread
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from local.engine_checkout import PACKAGE, Replacements, packed
from local.engine_forkserver import IS_SUPPORTED, ForkedProcess, ForkServer, brings_preloaded
from local.engine_pollers import wait_for_warm

running: set[object] = set()
"""The invocations in progress."""

_invoke = lambda_runtime.Worker.invoke


def _invoke_alone(worker: Any, *arguments: Any, **more: Any) -> Any:
    """A process that fails to start fails only its own call.

    ministack would discard all processes of that function, including those that are starting, so that their
    calls fail too: if several start at once, it never recovers.
    """
    invocation = object()
    running.add(invocation)
    try:
        return _invoke(worker, *arguments, **more)
    except Exception as error:
        process, worker._proc = worker._proc, None
        lambda_runtime._signal(process)
        return {"status": "error", "error": str(error), "cold_start": True}
    finally:
        running.discard(invocation)


_spawn = lambda_runtime.Worker._spawn
_layers: dict[str, Path] = {}
_unpacking = Lock()


def _spawn_with_common_layers(worker: Any) -> None:
    """A process with its function's layers, unpacked once and shared: on AWS, layers are read-only too.

    ministack unpacks them again for each process, which takes longer than the rest of a cold start.
    """
    global _start_seconds
    config = worker.config
    folders = [
        str(_unpacked(content))
        for layer in config.get("Layers", [])
        if (content := lambda_svc._resolve_layer_zip(layer))
    ]
    replacement = getattr(worker, "replacement", None)
    if replacement:
        folders = [replacement.layer if Path(each, PACKAGE).is_dir() else each for each in folders]
    variables = config.get("Environment", {}).get("Variables", {})
    common = {"Variables": {**variables, "_LAMBDA_LAYERS_DIRS": os.pathsep.join(folders)}}
    worker.config = {**config, "Layers": [], "Environment": common}
    deployed = worker.code_zip
    started = time.monotonic()
    try:
        if replacement:
            worker.code_zip = packed(Path(replacement.function))
        _spawn(worker)
        forked = getattr(worker._proc, "started", None)
        seconds = time.monotonic() - (forked or started)
        _start_seconds = min(max(_START[0], seconds * (_FORKED if forked else 1)), _START[1])
    finally:
        worker.config, worker.code_zip = config, deployed
        with _returned:  # it has started by now
            _returned.notify_all()


def _unpacked(content: bytes) -> Path:
    name = hashlib.sha256(content).hexdigest()
    with _unpacking:
        if name not in _layers:
            folder = Path(tempfile.mkdtemp(prefix="layer-"))
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                packed.extractall(folder)
            _layers[name] = folder
        return _layers[name]


_MAX_SERVERS = (
    3  # of 60 MB each: one serves all functions, and a deployment with other dependencies adds another
)
_servers: dict[tuple[str, ...], ForkServer] = {}
_choosing_server = Lock()


class _SubprocessOrFork:
    """Replaces `subprocess` in ministack: forks Python functions' processes, and starts all others."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(command: list[str], **options: Any) -> Any:  # noqa: N802 # as in `subprocess`
        python, program = command[0], command[-1]
        is_function = IS_SUPPORTED and Path(program).name == "_worker.py"
        # A function's own packages must not be preloaded.
        if not is_function or brings_preloaded(Path(options["cwd"])):
            return subprocess.Popen(command, **options)
        return _fork(python, program, options["cwd"], options["env"])


def _fork(python: str, program: str, directory: str, environment: dict[str, str]) -> ForkedProcess:
    layers = environment.get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep)
    # The other layers are on the process's own path, and need no new server when they change.
    common = tuple(layer for layer in layers if brings_preloaded(Path(layer, "python")))
    with _choosing_server:
        server = _servers.pop(common, None)
        if server is None or not server.is_running():
            server = ForkServer(python, common)
        _servers[common] = server  # the latest is last
        while len(_servers) > _MAX_SERVERS:
            _servers.pop(next(iter(_servers))).stop()
    return server.fork(program, directory, environment)


_lease = lambda_runtime.acquire_worker
_return = lambda_runtime.release_worker
_returned = Condition()

_START = (1.0, 10.0)  # seconds assumed for a process's start, least and most
_FORKED = 6  # a process that is not forked takes this many times as long to start
_start_seconds = _START[0]
_lines: dict[str, deque[object]] = {}  # invocations that wait for a process of their function, oldest first


def start_seconds() -> float:
    """Seconds that the latest process took to start, or would have taken without the fork server.

    It measures how busy the machine is: a start then takes several times as long, like all other work.
    """
    return _start_seconds


def _lease_warm(
    name: str, config: dict[str, Any], code: bytes, qualifier: str = "$LATEST", *more: Any
) -> Any:
    """A process for an invocation: an existing one if possible. First come, first served."""
    key = lambda_runtime._worker_key(name, config, qualifier)
    turn = object()
    with _returned:
        line = _lines.setdefault(key, deque())
        line.append(turn)
        try:
            while (seconds := _wait_for_process(key) if line[0] is turn else None) != 0:
                _returned.wait(seconds)
            return _lease_current(key, name, config, code, qualifier, *more)
        finally:
            line.remove(turn)
            _returned.notify_all()


_replacements = Replacements(Path())


def _lease_current(key: str, name: str, *arguments: Any) -> Any:
    """A process with the function's current code, which `make dev` may have replaced."""
    current = _replacements.of(name)
    while True:
        worker, how = _lease(name, *arguments)
        if how == "spawn":
            worker.replacement = current
        if worker is None or getattr(worker, "replacement", None) == current:
            return worker, how
        with lambda_runtime._lock:
            lambda_runtime._workers[key].remove(worker)
        # Its end is not awaited.
        Thread(target=lambda_runtime.kill_workers, args=([worker],), daemon=True).start()


def _wait_for_process(key: str) -> float:
    """Seconds that the first invocation in line waits; 0 if a process is free, or is to be started."""
    workers = list(lambda_runtime._workers.get(key, ()))
    busy = [each for each in workers if each.in_use]
    if len(busy) < len(workers):
        return 0.0
    return wait_for_warm(
        [each.last_used for each in busy],
        time.time(),
        starting=any(each._proc is None for each in busy),
        start=_start_seconds,
    )


def _return_warm(worker: Any) -> None:
    _return(worker)
    with _returned:
        _returned.notify_all()


# A function's process writes this when a call's log is complete.
_END_OF_LOG = "\0"
_CALL = "            result = handler_fn(event, context)\n"
_ANSWER = "            _real_stdout.write("
_END = "            sys.stderr.flush(); os.write(2, b'\\0\\n')\n"
# That line always follows, or the process ends. Later output would count as the next call's log.
_LOG_SECONDS = 5.0


def _with_end_of_log(program: str) -> str:
    """The program of a function's process, changed to report when a call's log is complete."""
    before, call, after = program.partition(_CALL)
    if after.count(_ANSWER) != 2:
        raise RuntimeError("ministack's program for functions has changed")
    return before + call + after.replace(_ANSWER, _END + _ANSWER)


_read_log = lambda_runtime.Worker._read_stderr
_log_so_far = lambda_runtime.Worker._drain_stderr
_log_in_time = lambda_runtime.Worker._drain_stderr_bounded


def _read_log_to_end(worker: Any) -> None:
    lines = worker._stderr_queue
    _read_log(worker)
    lines.put(_END_OF_LOG)


def _log_of_call(worker: Any, *bounds: float, **more: float) -> str:
    """What a function printed during a call.

    ministack waits for 5 ms without output, and for 50 ms if the function prints nothing. Only the program
    for Python reports when the log is complete.
    """
    if not worker.config.get("Runtime", "").startswith("python"):
        log: str = _log_in_time(worker, *bounds, **more)
        return log
    lines: list[str] = []
    deadline = time.monotonic() + _LOG_SECONDS
    with contextlib.suppress(Empty):
        while not lines or not lines[-1].endswith(_END_OF_LOG):
            lines.append(worker._stderr_queue.get(timeout=max(0.0, deadline - time.monotonic())))
    return "\n".join(lines).removesuffix(_END_OF_LOG).removesuffix("\n")


def _log_until_now(worker: Any) -> str:
    log: str = _log_so_far(worker)
    return log.replace(_END_OF_LOG, "")


def install(home: Path) -> None:
    """Patch ministack, in the engine with this directory."""
    global _replacements
    _replacements = Replacements(home)
    lambda_runtime.acquire_worker = lambda_svc.acquire_worker = _lease_warm
    lambda_runtime.release_worker = lambda_svc.release_worker = _return_warm
    lambda_runtime._PYTHON_WORKER_SCRIPT = _with_end_of_log(lambda_runtime._PYTHON_WORKER_SCRIPT)
    lambda_runtime.Worker._read_stderr = _read_log_to_end
    lambda_runtime.Worker._drain_stderr = _log_until_now
    lambda_runtime.Worker._drain_stderr_bounded = _log_of_call
    lambda_runtime.Worker.invoke = _invoke_alone
    lambda_runtime.Worker._spawn = _spawn_with_common_layers
    lambda_runtime.subprocess = _SubprocessOrFork()
