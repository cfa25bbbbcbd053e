"""A temporary PostgreSQL server, with its data in a new directory."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from order_capture_ops.errors import CommandError

DEBIAN = "/usr/lib/postgresql"
"""Where Debian and Ubuntu install all versions, outside of PATH."""
MAX_CONNECTIONS = 200
_START_SECONDS, _STOP_SECONDS = 30, 20

# Settings for this work on a dedicated machine. Those for durable commits are PostgreSQL's defaults, and are
# repeated here to show that an answered order is on disk.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "256MB",  # far more than is written here
    "max_wal_size": "4GB",  # checkpoints by time, not in the middle of a load
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "autovacuum_naptime": "10s",  # each order leaves a dead version of a hot row
    "listen_addresses": "",  # its socket is in a directory that no other user may enter
    "logging_collector": "off",
}


def programs() -> Path:
    """The directory of PostgreSQL's programs, of the newest installed version.

    Raises:
        CommandError: it is not installed.
    """
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [each.parent for each in Path(DEBIAN).glob("*/bin/initdb")]
    if not versions:
        raise CommandError(
            f"PostgreSQL is not installed (no initdb in PATH or {DEBIAN}/*/bin): "
            "on Debian or Ubuntu, apt-get install postgresql"
        )
    return max(
        versions, key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdigit()]
    )


class Database:
    """A server, with its data in `home`, an empty directory. Call `start` first."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"postgresql://postgres@/postgres?host={home}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process, whose children each serve a connection."""
        return self._started.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._started.poll() is not None

    def start(self, schema: Path) -> None:
        """Create and start it, and run the script `schema`. It leads its own process group.

        Raises:
            CommandError: PostgreSQL is not installed, or does not start.
        """
        as_user = self._as_user()
        # A crash here loses only a new, empty database, so its first files need no fsync.
        initdb = ["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._run([*as_user, str(programs() / "initdb"), *initdb, f"--pgdata={self._data}"])
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*as_user, str(programs() / "postgres"), f"-D{self._data}", f"-k{self.home}", *options],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        is_ready: list[str | Path] = [programs() / "pg_isready", "--quiet", f"--host={self.home}"]
        deadline = time.monotonic() + _START_SECONDS
        while not self.has_ended and time.monotonic() < deadline:
            if subprocess.run(is_ready, check=False).returncode == 0:
                psql = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={schema}", self.url]
                self._run([programs() / "psql", *psql])
                return
            time.sleep(0.05)
        raise CommandError(f"PostgreSQL does not start:\n{self._last_lines()}")

    def stop(self) -> None:
        """Stop it at once, even with open connections; committed orders are kept."""
        if self._process is None:
            return
        if not self.has_ended:
            self._process.send_signal(signal.SIGINT)  # "fast shutdown"
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # "immediate": crash recovery would repair it
                self._process.wait(_STOP_SECONDS)

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the database is not started")
        return self._process

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _log(self) -> Path:
        return self.home / "postgresql.log"

    def _as_user(self) -> list[str]:
        """The prefix of a command line that runs it as another user: PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return []
        for name in ("postgres", "nobody"):
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            os.chown(self.home, user.pw_uid, user.pw_gid)
            return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
        raise CommandError(
            "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as."
        )

    def _run(self, command: Sequence[str | Path]) -> None:
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandError(f"PostgreSQL can't be set up:\n{done.stderr.strip() or done.stdout.strip()}")

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
