"""The processes that run the engine's functions: how they start, are shared out, and say what they printed.

ministack's own ways, changed where a laptop pays for them: a process starts in a second of a core, and each
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
    """A function's process that does not start fails its own call only.

    ministack would discard all processes of that function, those included that are starting at this moment,
    whose calls then fail likewise: where several start at once, it never recovers.
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
    """A process with the layers of its function, unpacked once for all: on AWS, too, nobody writes to them.

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
        with _returned:  # by now it has started
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
    3  # of 60 MB each: one serves all functions, and a deployment of other dependencies makes another
)
_servers: dict[tuple[str, ...], ForkServer] = {}
_choosing_server = Lock()


class _SubprocessOrFork:
    """What ministack starts processes with: it forks those of functions in Python, and starts all others."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(command: list[str], **options: Any) -> Any:  # noqa: N802 # as in `subprocess`
        python, program = command[0], command[-1]
        is_function = IS_SUPPORTED and Path(program).name == "_worker.py"
        # What a function brings itself must not be there before it.
        if not is_function or brings_preloaded(Path(options["cwd"])):
            return subprocess.Popen(command, **options)
        return _fork(python, program, options["cwd"], options["env"])


def _fork(python: str, program: str, directory: str, environment: dict[str, str]) -> ForkedProcess:
    layers = environment.get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep)
    # The others are on its path by itself, and need no server of their own when they change.
    common = tuple(layer for layer in layers if brings_preloaded(Path(layer, "python")))
    with _choosing_server:
        server = _servers.pop(common, None)
        if server is None or not server.is_running():
            server = ForkServer(python, common)
        _servers[common] = server  # the latest comes last
        while len(_servers) > _MAX_SERVERS:
            _servers.pop(next(iter(_servers))).stop()
    return server.fork(program, directory, environment)


_lease = lambda_runtime.acquire_worker
_return = lambda_runtime.release_worker
_returned = Condition()

_START = (1.0, 10.0)  # seconds that a process is taken to need to start, at least and at most
_FORKED = 6  # times what a forked process needs to start, one that is not forked does
_start_seconds = _START[0]
_lines: dict[str, deque[object]] = {}  # invocations that wait for a process of their function, oldest first


def start_seconds() -> float:
    """Seconds that the latest process took to start, or would have without the fork server.

    It says how busy the machine is: then it takes several times as long, as does whatever a batch waits for.
    """
    return _start_seconds


def _lease_warm(
    name: str, config: dict[str, Any], code: bytes, qualifier: str = "$LATEST", *more: Any
) -> Any:
    """A process for an invocation: one that is there, rather than one more. First come, first served."""
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
    """A process with the code that the function runs now: `make dev` may have replaced it since."""
    current = _replacements.of(name)
    while True:
        worker, how = _lease(name, *arguments)
        if how == "spawn":
            worker.replacement = current
        if worker is None or getattr(worker, "replacement", None) == current:
            return worker, how
        with lambda_runtime._lock:
            lambda_runtime._workers[key].remove(worker)
        # Nobody waits for it to end.
        Thread(target=lambda_runtime.kill_workers, args=([worker],), daemon=True).start()


def _wait_for_process(key: str) -> float:
    """Seconds that whoever is first in line waits for a process; 0 if one is free, or is to be started."""
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


# What a function's process writes when all that a call printed is there.
_END_OF_LOG = "\0"
_CALL = "            result = handler_fn(event, context)\n"
_ANSWER = "            _real_stdout.write("
_END = "            sys.stderr.flush(); os.write(2, b'\\0\\n')\n"
# That line always comes, or the process ends. What came later would count as the log of the next call.
_LOG_SECONDS = 5.0


def _with_end_of_log(program: str) -> str:
    """The program of a function's process, which says when the log of a call is complete."""
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

    ministack waits for 5 ms of silence, and for 50 ms if the function prints nothing. Only the program for
    Python says when the log is complete.
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
    """Change ministack, in the engine with this directory."""
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
