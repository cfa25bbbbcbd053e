"""The checkout's code, which functions run instead of the deployed code while `make dev` runs.

`make dev` writes to the engine's directory which code to run, and holds a lock there while this applies: the
system releases the lock even if that process is killed. The engine checks before each invocation. This module
does not need ministack.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

PACKAGE = "python/order_capture"
"""The path of our package in a layer."""

_FILE, _LOCK = "dev.json", "dev.lock"


@dataclass(frozen=True)
class Code:
    """The code of a function.

    `revision` increases when a change affects the function: a process with an earlier one is replaced.
    `function` is the folder of its own code, and `layer` replaces the layer with our package.
    """

    revision: int
    function: str
    layer: str


Replace = Callable[[Mapping[str, Code]], None]
"""Takes the code of each function, by its deployed name."""


@contextlib.contextmanager
def replacing(home: Path) -> Iterator[Replace]:
    """Replace code in this directory's engine until the end of the block, or of this process."""
    with (home / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the engine, which tests it, holds it for microseconds
        try:
            yield partial(_write, home / _FILE)
        finally:
            (home / _FILE).unlink(missing_ok=True)


def _write(file: Path, codes: Mapping[str, Code]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({name: asdict(code) for name, code in codes.items()}))
    new.replace(file)


class Replacements:
    """The engine's side: the current replacements."""

    def __init__(self, home: Path) -> None:
        """For the engine with this directory."""
        self._home = home
        self._read: tuple[int, int] | None = None
        self._codes: dict[str, Code] = {}

    def of(self, function: str) -> Code | None:
        """The code that replaces this function's deployed code; None if it is not replaced."""
        try:
            found = (self._home / _FILE).stat()
            if (version := (found.st_ino, found.st_mtime_ns)) != self._read:
                content = json.loads((self._home / _FILE).read_text())
                self._codes = {name: Code(**code) for name, code in content.items()}
                self._read = version
        except FileNotFoundError:
            return None
        return self._codes.get(function) if self._is_held() else None

    def _is_held(self) -> bool:
        """Whether the process that wrote it still runs."""
        with (self._home / _LOCK).open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def packed(folder: Path) -> bytes:
    """A folder as a zip file, in the form of a function's uploaded code."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                archive.write(path, path.relative_to(folder))
    return content.getvalue()
