"""The embedded AWS engine: a local AWS in one process (ministack) that runs the functions as its children.

`start`, `find` and `Engine.stop` look after the one engine of this checkout; `fresh` gives a test an engine
of its own. The engine keeps everything in memory: stopping it forgets it all.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".local/venv/engine/bin/python"
_INSTALLED = ROOT / ".local/venv/engine/.ready"
_PROGRAM = ROOT / "local/engine_process.py"
HOME = ROOT / ".local/engine"
DEFAULT_PORT = 4566
REGION = "us-east-1"

# It is up in two seconds; a machine that is busy with other things may need many times that.
_START_SECONDS = 60
_STOP_SECONDS = 5


class EngineError(Exception):
    """The engine cannot be started; the text is for the person at the keyboard."""


@dataclass(frozen=True)
class Engine:
    """A running engine.

    `home` is its directory, with `engine.json` (which process it is), `log`, and `tmp` for what the engine
    and the functions write.
    """

    home: Path
    port: int
    pid: int

    @property
    def url(self) -> str:
        """The endpoint of every AWS service in it."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The environment for a process that is to talk to this engine, and can reach no other AWS."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        bypass = ",".join(filter(None, [kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1"]))
        return kept | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": bypass,
            "no_proxy": bypass,
            "PORT": str(self.port),
        }

    def is_running(self) -> bool:
        """Whether the process is there and is this engine.

        A pid may have gone to another process since. Its environment tells: no other process works in this
        engine's directory.
        """
        try:
            process = psutil.Process(self.pid)
            in_our_directory = process.environ().get("TMPDIR") == str(self.home / "tmp")
            return in_our_directory and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def is_ready(self) -> bool:
        """Whether it answers, and it is this process that does."""
        try:
            with _opener.open(f"{self.url}/_ministack/ready", timeout=5) as answer:
                ready = answer.status == 200
            sockets = psutil.Process(self.pid).net_connections("tcp")
        except (OSError, psutil.Error):
            return False
        return ready and any(s.status == psutil.CONN_LISTEN and s.laddr.port == self.port for s in sockets)

    def is_outdated(self) -> bool:
        """Whether its packages have been installed anew since it started, or its program has changed."""
        newest = max(_INSTALLED.stat().st_mtime, _PROGRAM.stat().st_mtime)
        return newest > (self.home / "engine.json").stat().st_mtime

    def stop(self) -> None:
        """Stop it and its functions, and remove what they left in their temporary directory."""
        if self.is_running():
            # With all its functions, which are in its process group. It has nothing to save, and takes four
            # seconds and more to end them when it is asked to.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            deadline = time.monotonic() + _STOP_SECONDS
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(0.02)
        (self.home / "engine.json").unlink(missing_ok=True)
        shutil.rmtree(self.home / "tmp", ignore_errors=True)


# A proxy that is set for the world outside has nothing to do with the loopback interface.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def find(home: Path = HOME) -> Engine | None:
    """The engine that was started in this directory and still runs, or None; a stale record is cleared."""
    try:
        record = json.loads((home / "engine.json").read_text())
        engine = Engine(home, int(record["port"]), int(record["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if engine.is_running():
        return engine
    engine.stop()
    return None


def start(port: int, home: Path = HOME, *, auth: bool = True) -> Engine:
    """Start an engine on this port of the loopback interface and wait until it answers.

    With `auth`, every function is held to its own IAM role and every queue to its policy.

    Raises:
        EngineError: the port is taken, or the engine does not come up.
    """
    if not PYTHON.exists():
        raise EngineError("The engine is not installed yet: `make run` installs it.")
    require_free(port)
    temporary = home / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    # Nothing of the caller's environment: what is set here is all that the engine and the functions see.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "AUTH": "true" if auth else "false",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        # A process of an idle function takes 45 MB, and a burst leaves forty: they end after a minute.
        "LAMBDA_WARM_TTL_SECONDS": "60",
        "MINISTACK_REGION": REGION,
        "S3_DATA_DIR": str(temporary / "s3"),
        "STATE_DIR": str(temporary / "state"),
        # It would otherwise remove containers of other engines from a Docker that happens to run here.
        "DOCKER_HOST": f"unix://{temporary}/no-docker.sock",
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PYTHON,
                "-P",
                _PROGRAM,
            ],  # -P: the modules beside it are not the engine's
            cwd=temporary,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it outlives the terminal, and Ctrl-C there is not for it
        )
    engine = Engine(home, port, process.pid)
    record = home / "engine.json.new"
    record.write_text(json.dumps({"pid": process.pid, "port": port}))
    record.replace(home / "engine.json")
    deadline = time.monotonic() + _START_SECONDS
    try:
        while not engine.is_ready():
            if process.poll() is not None:
                raise EngineError(f"The engine ended at once:\n{_tail(home / 'log')}")
            if time.monotonic() > deadline:
                raise EngineError(f"The engine gave no answer in {_START_SECONDS} s: see {home / 'log'}")
            time.sleep(0.05)
    except BaseException:
        engine.stop()
        raise
    return engine


@contextlib.contextmanager
def fresh(*, auth: bool = True) -> Iterator[Engine]:
    """An engine of one's own on a free port, gone with everything in it at the end."""
    stop_orphans()
    home = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=_fresh_homes()))
    try:
        engine = start(free_port(), home, auth=auth)
        try:
            yield engine
        finally:
            engine.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def stop_orphans() -> None:
    """Stop fresh engines whose user was killed before it could stop them itself."""
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
    """Raises EngineError, with what to do about it, where the port is taken."""
    if not is_free(port):
        raise EngineError(
            f"Port {port} is taken by another program. Choose another: make run PORT={port + 1}"
        )


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        # As servers do: a connection of an earlier server that lingers does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def main() -> int:
    """`python -m local.engine stop` and `status`."""
    parser = argparse.ArgumentParser(prog="python -m local.engine")
    parser.add_argument("command", choices=["stop", "status"])
    command = parser.parse_args().command
    stop_orphans()
    engine = find()
    if engine is None:
        print("No engine runs here.")
        return 0 if command == "stop" else 1
    if command == "stop":
        engine.stop()
        print(f"The engine on port {engine.port} is stopped.")
    else:
        print(f"The engine answers at {engine.url} (process {engine.pid}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
