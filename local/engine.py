"""The embedded AWS engine: a local AWS in one process (ministack), with the functions as its child processes.

`start`, `find` and `Engine.stop` manage this checkout's engine, which keeps its data until they are deleted.
`fresh` starts an engine for a test, which keeps nothing and ends with the test, even if that is killed.
"""

import argparse
import contextlib
import json
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from local import engine_snapshots
from local.engine_console import CONSOLE_PATH, console_key
from local.engine_guard import DOCS_PATH, TOOL_HEADER
from local.engine_snapshots import SnapshotError
from order_capture_ops.errors import CommandError

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".local/venv/engine/bin/python"
_INSTALLED = ROOT / ".local/venv/engine/.ready"
_PROGRAM = sorted((ROOT / "local").glob("engine_*.py"))
HOME = ROOT / ".local/engine"
DEFAULT_PORT = 4566
REGION = "us-east-1"

# It starts in two seconds, but a busy machine may need many times that.
_START_SECONDS = 60
_STOP_SECONDS = 30  # to finish what is in progress, and save its data

# Engines that end with this process, by pid; each has a pipe that closes then.
_lifelines: dict[int, subprocess.Popen[bytes]] = {}


class EngineError(CommandError):
    """The engine can't be started; the message is shown to the user."""


@dataclass(frozen=True)
class Engine:
    """A running engine.

    `home` is its directory, with `engine.json` (which process it is, and its credentials), `log`, `tmp` for
    what the engine and the functions write, and `state`, its data. Only its owner can read them.
    """

    home: Path
    port: int
    pid: int
    access_key_id: str
    secret_access_key: str = field(repr=False)
    keeps_data: bool = False

    @property
    def url(self) -> str:
        """The endpoint of every AWS service in it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def console_url(self) -> str:
        """The console's address with the sign-in key. It is a secret."""
        return f"{self.url}{CONSOLE_PATH}#key={console_key(self.secret_access_key)}"

    @property
    def api_docs_url(self) -> str:
        """The address of the documentation's API page, with the same key."""
        return f"{self.url}{DOCS_PATH}/api.html#key={console_key(self.secret_access_key)}"

    def variables(self) -> dict[str, str]:
        """The environment variables that direct AWS's tools to this engine only."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def environment(self) -> dict[str, str]:
        """The environment for a process that calls this engine, and can't reach AWS itself."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        # The user's proxy must not be used for the engine. Tools differ in which spelling they read.
        bypass = ",".join(filter(None, [kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1,localhost"]))
        return kept | self.variables() | {"NO_PROXY": bypass, "no_proxy": bypass, "PORT": str(self.port)}

    def is_running(self) -> bool:
        """Whether the process exists and is this engine.

        The pid may have been reused by another process, whose environment does not name this engine's
        directory.
        """
        try:
            process = psutil.Process(self.pid)
            in_our_directory = process.environ().get("TMPDIR") == str(self.home / "tmp")
            return in_our_directory and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def is_ready(self) -> bool:
        """Whether it responds, and its port belongs to this process."""
        request = urllib.request.Request(
            f"{self.url}/_ministack/ready", headers={TOOL_HEADER: self.secret_access_key}
        )
        try:
            with _opener.open(request, timeout=5) as answer:
                ready = answer.status == 200
            sockets = psutil.Process(self.pid).net_connections("tcp")
        except (OSError, psutil.Error):
            return False
        return ready and any(s.status == psutil.CONN_LISTEN and s.laddr.port == self.port for s in sockets)

    def is_outdated(self) -> bool:
        """Whether its packages or its program have changed since it started."""
        newest = max(each.stat().st_mtime for each in (_INSTALLED, *_PROGRAM))
        return newest > (self.home / "engine.json").stat().st_mtime

    def stop(self) -> None:
        """Save its data, stop it and its functions, and remove their temporary directory."""
        if self.is_running():
            if self.keeps_data:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
                self._wait(_STOP_SECONDS, lambda: not self.is_running())
            self.kill()
        (self.home / "engine.json").unlink(missing_ok=True)
        shutil.rmtree(self.home / "tmp", ignore_errors=True)
        _lifelines.pop(self.pid, None)

    def kill(self) -> None:
        """Kill it and its functions without saving. They are all in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        # A killed process counts as ended before its last threads release the port.
        self._wait(5, lambda: not self.is_running() and is_free(self.port))

    def _wait(self, seconds: float, has_ended: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)

    def status(self) -> dict[str, Any]:
        """The engine's own status."""
        request = urllib.request.Request(
            f"{self.url}/_ministack/status", headers={TOOL_HEADER: self.secret_access_key}
        )
        with _opener.open(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


# The user's proxy must not be used for the loopback interface.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def find(home: Path = HOME) -> Engine | None:
    """The engine that was started in this directory and still runs, or None; a stale record is cleared."""
    try:
        record = json.loads((home / "engine.json").read_text())
        engine = Engine(
            home,
            int(record["port"]),
            int(record["pid"]),
            # An engine of an earlier release lacks these; it is found so that it can be stopped.
            str(record.get("accessKeyId", "")),
            str(record.get("secretAccessKey", "")),
            bool(record.get("keepsData", False)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if engine.is_running():
        return engine
    engine.stop()
    return None


def start(
    port: int,
    home: Path = HOME,
    *,
    auth: bool = True,
    keeps_data: bool = True,
    tied: bool = False,
    guarded: bool = True,
    other_hosts: Collection[str] = (),
) -> Engine:
    """Start an engine on this port of the loopback interface and wait until it responds.

    Args:
        port: the port that it listens on.
        home: its directory.
        auth: enforce every function's IAM role and every queue's policy.
        keeps_data: load the data in its directory, and save them.
        tied: end it with this process, even if that is killed.
        guarded: False disables the guard, so that well-known credentials allow everything. For the test that
            shows what the guard prevents.
        other_hosts: hostnames by which a relay may reach it.

    Raises:
        EngineError: the port is taken, its data can't be used, or the engine does not start.
    """
    if not PYTHON.exists():
        raise EngineError("The engine is not installed yet: `make run` installs it.")
    require_free(port)
    temporary, state = home / "tmp", home / "state"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    home.chmod(0o700)
    if not keeps_data:
        delete_data(home)
    state.mkdir(mode=0o700, exist_ok=True)
    key, secret = ("test", "test") if not guarded else _credentials(state)
    # The engine and the functions get only these variables, not the caller's environment.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "AUTH": "true" if auth else "false",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        # An idle function's process takes 45 MB, and a burst leaves forty of them: they end after a minute.
        "LAMBDA_WARM_TTL_SECONDS": "60",
        "MINISTACK_REGION": REGION,
        "S3_DATA_DIR": str(state / "s3"),
        "S3_PERSIST": "1" if keeps_data else "0",
        "STATE_DIR": str(state),
        # It would otherwise remove other engines' containers from this machine's Docker.
        "DOCKER_HOST": f"unix://{temporary}/no-docker.sock",
        "PYTHONPATH": str(ROOT),
        "ENGINE_HOME": str(home),
        "ENGINE_SETTINGS": json.dumps(
            {"keepsData": keeps_data, "tied": tied, "guarded": guarded, "otherHosts": sorted(other_hosts)}
        ),
    }
    record = {"port": port, "accessKeyId": key, "secretAccessKey": secret, "keepsData": keeps_data}
    write_private(home / "engine.json", record | {"pid": 0})
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, "-P", "-m", "local.engine_process"],
            cwd=temporary,
            env=environment,
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            umask=0o077,
            start_new_session=True,  # it survives the terminal and Ctrl-C there
        )
    if tied:
        _lifelines[process.pid] = process
    engine = Engine(home, port, process.pid, key, secret, keeps_data)
    write_private(home / "engine.json", record | {"pid": process.pid})
    deadline = time.monotonic() + _START_SECONDS
    try:
        while not engine.is_ready():
            if process.poll() == engine_snapshots.REFUSED:
                reason = _tail(home / "log", 1)
                raise EngineError(
                    f"The data in {_shown(state)} can't be used: {reason}. "
                    "`make run FRESH=1` deletes them and starts with nothing."
                )
            if process.poll() is not None:
                raise EngineError(f"The engine ended at once:\n{_tail(home / 'log')}")
            if time.monotonic() > deadline:
                raise EngineError(f"The engine did not respond within {_START_SECONDS} s: see {home / 'log'}")
            time.sleep(0.05)
    except BaseException:
        engine.kill()  # it must not save data that it has not loaded
        engine.stop()
        raise
    return engine


def delete_data(home: Path = HOME) -> None:
    """Delete the data of the engine in this directory, which must not be running."""
    shutil.rmtree(home / "state", ignore_errors=True)


def recovered(home: Path = HOME) -> str | None:
    """Describe the data that an engine in this directory will start with; None if there are none.

    Raises:
        EngineError: the data can't be used.
    """
    state = home / "state"
    try:
        header = engine_snapshots.read_header(state)
    except SnapshotError as error:
        raise EngineError(
            f"The data in {_shown(state)} can't be used: {error}. "
            "`make run FRESH=1` deletes them and starts with nothing."
        ) from error
    if header is None:
        return None
    at = f"{datetime.fromtimestamp(header.saved_at, tz=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    lost = engine_snapshots.lost_seconds(state, header)
    # After a kill, the latest changes may be unrecorded: the loss may be larger than known.
    if header.clean and not lost:
        return f"It continues with its data from {at}, in {_shown(state)}."
    return (
        f"The engine was killed. It continues with its data from {at}, in {_shown(state)}: all changes of "
        f"the last {max(1, round(lost))} s before it was killed are lost, including orders accepted then."
    )


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _credentials(state: Path) -> tuple[str, str]:
    """The engine's own access key: created once, and kept as long as its data."""
    try:
        kept = json.loads((state / "credentials.json").read_text())
        return str(kept["accessKeyId"]), str(kept["secretAccessKey"])
    except (OSError, ValueError, KeyError, TypeError):
        made = f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20)
        write_private(
            state / "credentials.json", dict(zip(("accessKeyId", "secretAccessKey"), made, strict=True))
        )
        return made


def write_private(path: Path, content: Any) -> None:
    """Write JSON atomically, readable by its owner only."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(new, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")
    new.replace(path)


@contextlib.contextmanager
def fresh(
    *,
    auth: bool = True,
    keeps_data: bool = False,
    guarded: bool = True,
    other_hosts: Collection[str] = (),
    port: int | None = None,
) -> Iterator[Engine]:
    """Start an engine on a free port, or on this one; it ends, with its data, at the end or with us."""
    stop_orphans()
    home = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=_fresh_homes()))
    try:
        engine = start(
            port or free_port(),
            home,
            auth=auth,
            keeps_data=keeps_data,
            tied=True,
            guarded=guarded,
            other_hosts=other_hosts,
        )
        try:
            yield engine
        finally:
            engine.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def ending_with_us(group: int) -> Iterator[None]:
    """Kill a process group at the end of the block, or with this process, even if that is killed."""
    guardian = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -9 "-$1" 2>/dev/null', "sh", str(group)],
        stdin=subprocess.PIPE,  # the system closes it when this process ends
        start_new_session=True,
    )
    try:
        yield
    finally:
        guardian.kill()
        guardian.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def stop_orphans() -> None:
    """Stop fresh engines whose process was killed before it could stop them."""
    for home in _fresh_homes().iterdir():
        if not psutil.pid_exists(int(home.name.partition("-")[0])):
            if engine := find(home):
                engine.stop()
            shutil.rmtree(home, ignore_errors=True)


def _fresh_homes() -> Path:
    homes = ROOT / ".local/engines"
    homes.mkdir(parents=True, exist_ok=True)
    return homes


def require_free(port: int) -> None:
    """Raise an EngineError if the port is taken."""
    if not is_free(port):
        raise EngineError(
            f"Port {port} is taken by another program. Choose another: make run PORT={port + 1}"
        )


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        # As servers do: a lingering connection of an earlier server does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port of the loopback interface.

    Not an ephemeral one (from 32768 on Linux, from 49152 on macOS): while a server restarts, an outgoing
    connection could take its port.
    """
    for _ in range(100):
        if is_free(port := random.randrange(20_000, 32_768)):  # nosec B311 # no secret
            return port
    raise EngineError("No port between 20000 and 32768 is free.")


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def main() -> int:
    """`python -m local.engine stop`, `status` and `env`."""
    parser = argparse.ArgumentParser(prog="python -m local.engine")
    parser.add_argument("command", choices=["stop", "status", "env"])
    command = parser.parse_args().command
    stop_orphans()
    engine = find()
    if engine is None:
        print("No engine runs here: `make run` starts one.", file=sys.stderr if command == "env" else None)
        return 0 if command == "stop" else 1
    match command:
        case "stop":
            engine.stop()
            data = _shown(engine.home / "state")
            print(f"The engine on port {engine.port} is stopped. Its data are kept in {data}:")
            print("`make run` continues with them, `make run FRESH=1` and `make clean` delete them.")
        case "status":
            print(f"The engine runs at {engine.url} (process {engine.pid}).")
        case "env":
            for name, value in engine.variables().items():
                print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
