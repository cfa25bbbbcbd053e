"""The engine's data on disk: consistent snapshots, taken while it runs.

A fork of the process, with a copy of all its memory, writes the snapshot atomically without blocking the
engine. A crash loses the changes since the latest snapshot. The time of the latest change is recorded, too,
so that the engine can report how much was lost.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import json
import os
import pickle  # nosec B403 # see `load`
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
REFUSED = 3
"""The exit code of an engine that can't use its snapshot. Its last line of output has the reason."""

_INTERVAL = 2.0  # seconds between two snapshots, while there are changes
# During changes, the interval grows with a snapshot's duration, and so with the data: snapshots keep a core
# busy for a tenth of the time, and a crash costs half a minute at most.
_MAX_INTERVAL = 30.0
_INTERVAL_FACTOR = 10
_QUIET = 1.0  # seconds without a change after which the interval is short again
_TICK = 0.2
_TIMEOUT = 120.0  # seconds after which a snapshot is aborted


class SnapshotError(Exception):
    """A snapshot can't be used; the message is shown to the user."""


@dataclass(frozen=True)
class Header:
    """A snapshot's metadata.

    It is `clean` if it was taken on a regular stop, with nothing in progress.
    """

    engine: str
    port: int
    saved_at: float
    clean: bool
    sha256: str
    format: int = FORMAT


def snapshot_of(state: Path) -> Path:
    """The path of the snapshot in an engine's data directory."""
    return state / "snapshot"


def _changed(state: Path) -> Path:
    return state / "changed"


def read_header(state: Path) -> Header | None:
    """The header of the snapshot, or None if there is none.

    Raises:
        SnapshotError: it is damaged, or of another format.
    """
    try:
        with snapshot_of(state).open("rb") as file:
            return _header(file.readline())
    except FileNotFoundError:
        return None


def _header(line: bytes) -> Header:
    try:
        found = json.loads(line)
        if found.get("format") != FORMAT:
            raise SnapshotError("this release does not read its format")
        return Header(**found)
    except (ValueError, TypeError, AttributeError) as error:
        raise SnapshotError("it is damaged") from error


def lost_seconds(state: Path, header: Header) -> float:
    """Seconds from the snapshot to the latest change: a crash has lost these."""
    try:
        return max(0.0, _changed(state).stat().st_mtime - header.saved_at)
    except FileNotFoundError:
        return 0.0


def load(state: Path, engine: str) -> tuple[Header, Any] | None:
    """The snapshot's header and content, or None if there is none.

    Raises:
        SnapshotError: it is damaged, or was written by another release of the engine.
    """
    header = read_header(state)
    if header is None:
        return None
    if header.engine != engine:
        raise SnapshotError(f"it was made by release {header.engine} of the engine, and this is {engine}")
    content = snapshot_of(state).read_bytes().partition(b"\n")[2]
    if hashlib.sha256(content).hexdigest() != header.sha256:
        raise SnapshotError("it is damaged")
    # Only the developer can write there, so a pickle could only run the developer's own code.
    return header, pickle.loads(content)  # nosec B301


def write(state: Path, content: Any, *, engine: str, port: int, saved_at: float, clean: bool) -> None:
    """Write a snapshot atomically."""
    buffer = io.BytesIO()
    pickle.dump(content, buffer, protocol=pickle.HIGHEST_PROTOCOL)
    packed = buffer.getbuffer()
    header = Header(engine, port, saved_at, clean, hashlib.sha256(packed).hexdigest())
    new = snapshot_of(state).with_suffix(".new")
    with open(new, "wb", opener=_private) as file:
        file.write(json.dumps(asdict(header)).encode() + b"\n")
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    new.replace(snapshot_of(state))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def interval(seconds: float, *, quiet: float) -> float:
    """Seconds between two snapshots, if the last took `seconds`, and nothing changed for `quiet` seconds."""
    if quiet >= _QUIET:
        return _INTERVAL
    return min(max(_INTERVAL, _INTERVAL_FACTOR * seconds), _MAX_INTERVAL)


class Snapshots:
    """Takes snapshots while an event loop runs.

    `gather` collects the content, and may modify it, since it runs in the fork or at the end. `may_save`
    returns whether the state may be saved now.
    """

    def __init__(
        self,
        state: Path,
        *,
        engine: str,
        port: int,
        gather: Callable[[], Any],
        may_save: Callable[[], bool],
    ) -> None:
        self._state = state
        self._engine = engine
        self._port = port
        self._gather = gather
        self._may_save = may_save
        self._changed_at = 0.0
        self._noted_at = 0.0
        self._saved_at = 0.0
        self._tried_at = 0.0
        self._child = 0
        self.pauses: list[float] = []
        """Seconds that each of the last hundred snapshots held up the event loop."""

    def note_change(self) -> None:
        """Note that something has, or may have, changed."""
        self._changed_at = time.time()

    async def run(self) -> None:
        """Take snapshots as long as the loop runs."""
        header = read_header(self._state)
        self._saved_at = self._noted_at = header.saved_at if header else time.time()
        self._mark()
        seconds = 0.0
        while True:
            await asyncio.sleep(_TICK)
            if self._changed_at > self._noted_at:
                self._noted_at = self._changed_at
                self._mark()
            due = self._tried_at + interval(seconds, quiet=time.time() - self._changed_at)
            if self._changed_at >= self._saved_at and time.time() >= due and self._may_save():
                started = time.monotonic()
                await self._save_by_fork()
                seconds = time.monotonic() - started

    def _mark(self) -> None:
        """Record the time of the latest change on disk."""
        _changed(self._state).touch(mode=0o600)
        os.utime(_changed(self._state), (self._noted_at, self._noted_at))

    async def _save_by_fork(self) -> None:
        started = time.perf_counter()
        before = self._saved_at
        self._saved_at = self._tried_at = time.time()
        with warnings.catch_warnings():
            # Only this thread continues in the fork, and it takes no lock that another thread may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            self._write_and_exit()
        self.pauses = [*self.pauses[-99:], time.perf_counter() - started]
        self._child = child
        ended = asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
        try:
            _, status = await asyncio.wait_for(asyncio.shield(ended), _TIMEOUT)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            _, status = await ended
        self._child = 0
        if status != 0:
            self._saved_at = before

    def _write_and_exit(self) -> None:
        """Write the snapshot in the fork, which must always exit, and never continue as the engine."""
        status = 1
        try:
            gc.disable()
            # Connections, pipes and the port belong to the parent: their peers must see when it closes them.
            for descriptor in [int(each.name) for each in Path("/dev/fd").iterdir()]:
                if descriptor > 2:
                    with suppress(OSError):
                        os.close(descriptor)
            os.nice(5)
            self._write(self._saved_at, clean=False)
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())  # not an object that another thread may lock
        finally:
            os._exit(status)

    def _write(self, saved_at: float, *, clean: bool) -> None:
        write(
            self._state,
            self._gather(),
            engine=self._engine,
            port=self._port,
            saved_at=saved_at,
            clean=clean,
        )

    def save_and_exit(self) -> None:
        """Take the last snapshot and end the process."""
        status = 0
        try:
            if self._child:
                with suppress(ProcessLookupError):
                    os.kill(self._child, signal.SIGKILL)
            if self._may_save():
                self._write(time.time(), clean=True)
        except BaseException:
            traceback.print_exc()
            status = 1
        os._exit(status)
