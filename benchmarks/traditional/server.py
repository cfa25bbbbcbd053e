"""`make traditional`: the traditional design with its own database, until Ctrl-C.

Each start begins with no data. Other commands use `running`. It needs PostgreSQL, and the environment that
`make traditional` installs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.traditional import database
from benchmarks.traditional.database import Database
from local.console import console, step
from local.engine import ROOT, ending_with_us, free_port, is_free
from order_capture_ops.cli import FAILED, Parser, integer_between, run
from order_capture_ops.cli import port as port_number
from order_capture_ops.errors import CommandError

PYTHON = ROOT / ".local/venv/traditional/bin/python"
SCHEMA = Path(__file__).parent / "schema.sql"
PORT = 4600
MAX_WORKERS = 64
MAX_DELAY_MS = 60_000

# For each process. A hot product needs few, since its orders are serial anyway; the other products
# need enough that a hot one does not take them all.
_CONNECTIONS = 20
_START_SECONDS, _STOP_SECONDS = 30, 15
# On a disk, accessible to PostgreSQL's user even if other users may not enter this checkout, and with a
# short path: a socket's path has 107 characters at most.
_HOMES, _PREFIX = Path("/var/tmp"), "order-capture-traditional-"


@dataclass(frozen=True, slots=True)
class Server:
    """A running traditional design."""

    url: str
    database_url: str
    pid: int
    """The process whose end stops the whole server."""
    app_pid: int
    """The application: this process and its children."""
    database_pid: int
    """PostgreSQL: this process and its children."""

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU of the application and of PostgreSQL so far: user and system, including ended children."""
        return _cpu_seconds(self.app_pid), _cpu_seconds(self.database_pid)


def installed() -> None:
    """Check that it can run here.

    Raises:
        CommandError: it can't; the message says what to install.
    """
    database.programs()
    if not PYTHON.exists():
        raise CommandError(
            "The traditional design's environment is not installed: `make traditional` installs it."
        )


@contextlib.contextmanager
def running(
    *, port: int | None = None, workers: int | None = None, credit_delay_ms: int | None = None
) -> Iterator[Server]:
    """Run it for a block; it ends with the block or with this process, even if that is killed.

    Args:
        port: where it listens on the loopback interface; None: any free one. workers: processes of the
        application; None: one for each core. credit_delay_ms: make each order call a credit service with
        this delay (see `credit`); None: no credit service.

    Raises:
        CommandError: PostgreSQL or the environment is not installed, the port is taken, or it does not start.
    """
    installed()
    command = [sys.executable, "-m", __spec__.name, "--tied", "--port", str(port or free_port())]
    command += [] if workers is None else ["--workers", str(workers)]
    command += [] if credit_delay_ms is None else ["--credit-delay-ms", str(credit_delay_ms)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers", ROOT)))},
        stdin=subprocess.PIPE,  # its lifeline: the system closes it when this process ends
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches only this process, which then stops it
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, why = process.communicate()
            raise CommandError(
                why.strip().removeprefix("Error: ") or "The traditional design does not start."
            )
        yield Server(**json.loads(line))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(3 * _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # which ends the others, too
            process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run it until Ctrl-C."""
    parser = Parser(
        prog="make traditional", description=__doc__, example="make traditional PORT=4600 WORKERS=4"
    )
    parser.add_argument("--port", type=port_number, default=PORT, help="port on the loopback interface")
    parser.add_argument(
        "--workers", type=integer_between(1, MAX_WORKERS), help="processes; one for each core"
    )
    parser.add_argument(
        "--credit-delay-ms",
        type=integer_between(0, MAX_DELAY_MS),
        help="duration of the credit service's response, in ms",
    )
    parser.add_argument("--tied", action="store_true", help="stop when stdin closes; print JSON")
    options = parser.parse_args(arguments)
    return run(lambda: _serve(options.port, options.workers, options.credit_delay_ms, tied=options.tied))


def _serve(port: int, workers: int | None, credit_delay_ms: int | None, *, tied: bool) -> int:
    installed()
    if not is_free(port):
        raise CommandError(f"Port {port} is taken by another program. Choose another: PORT={port + 1}")
    workers = workers or os.cpu_count() or 1
    ended = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda *_: ended.set())
    if tied:
        threading.Thread(target=_wait_for_end, args=(ended,), daemon=True, name="lifeline").start()
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_new_home())
        postgres = Database(home)
        with _step("Starting PostgreSQL", quiet=tied):
            stack.callback(postgres.stop)
            postgres.start(schema=SCHEMA)
        stack.enter_context(ending_with_us(postgres.pid))
        with _step(f"Starting the application, {workers} processes", quiet=tied):
            app = stack.enter_context(_application(postgres, home, port, workers, credit_delay_ms, ended))
        server = Server(f"http://127.0.0.1:{port}", postgres.url, os.getpid(), app.pid, postgres.pid)
        if tied:
            print(json.dumps(asdict(server)), flush=True)
        else:
            console.print(f"The traditional design is up at {server.url}, until Ctrl-C: no token is needed.")
            console.print(f"Its database: psql '{server.database_url}'", soft_wrap=True)
        while not ended.wait(0.2):
            if app.poll() is not None or postgres.has_ended:
                console.print(f"It stopped unexpectedly:\n{_last_lines(home)}")
                return FAILED
    return 0


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()  # until the system closes it
    ended.set()


@contextlib.contextmanager
def _application(
    postgres: Database,
    home: Path,
    port: int,
    workers: int,
    credit_delay_ms: int | None,
    ended: threading.Event,
) -> Iterator[subprocess.Popen[bytes]]:
    """The application over a database, for a block."""
    variables = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers", ROOT))),
        "DATABASE_URL": postgres.url,
        "CONNECTIONS": str(min(_CONNECTIONS, (database.MAX_CONNECTIONS - 10) // workers)),
        **({} if credit_delay_ms is None else {"CREDIT_DELAY_MS": str(credit_delay_ms)}),
    }
    with (home / "app.log").open("wb") as log:
        options = [
            "--host=127.0.0.1",
            f"--port={port}",
            f"--workers={workers}",
            "--loop=uvloop",
            "--http=httptools",
        ]
        quiet = ["--no-access-log", "--log-level=warning", f"--timeout-graceful-shutdown={_STOP_SECONDS}"]
        process = subprocess.Popen(
            [PYTHON, "-P", "-m", "uvicorn", "benchmarks.traditional.app:app", *options, *quiet],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=postgres.pid,  # which ends as a whole
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_healthy(port):
            if ended.is_set():
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"The application does not start:\n{_last_lines(home)}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def _new_home() -> Iterator[Path]:
    """A new directory for a block; deletes those left behind by killed processes."""
    for left in _HOMES.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_HOMES))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _last_lines(home: Path) -> str:
    lines = [
        line for log in sorted(home.glob("*.log")) for line in log.read_text(errors="replace").splitlines()
    ]
    return "\n".join(lines[-15:])


def _step(what: str, *, quiet: bool) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if quiet else step(what)


def _cpu_seconds(pid: int) -> float:
    total = 0.0
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    sys.exit(main())
