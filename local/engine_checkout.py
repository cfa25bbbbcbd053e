"""Code of the checkout that the functions run in place of what is deployed, while `make dev` runs.

`make dev` writes into the engine's directory which code that is, and holds a lock there while it counts: the
system releases it however that process ends. The engine looks before each invocation. It needs nothing of
ministack.
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
"""Where a layer has our package."""

_FILE, _LOCK = "dev.json", "dev.lock"


@dataclass(frozen=True)
class Code:
    """What a function runs.

    `revision` rises when a change reaches the function: a process with an earlier one is replaced. `function`
    is the folder of its own code, and `layer` one with our package, in place of the layer that has it.
    """

    revision: int
    function: str
    layer: str


Replace = Callable[[Mapping[str, Code]], None]
"""Takes the code of each function, by the name that it is deployed with."""


@contextlib.contextmanager
def replacing(home: Path) -> Iterator[Replace]:
    """Replace code in the engine with this directory until the end of the block, or of this process."""
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
    """The engine's side: what counts at this moment."""

    def __init__(self, home: Path) -> None:
        """Of the engine with this directory."""
        self._home = home
        self._read: tuple[int, int] | None = None
        self._codes: dict[str, Code] = {}

    def of(self, function: str) -> Code | None:
        """What the function with this name runs instead of what is deployed; None if it runs that."""
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
        """Whether the one who wrote it is still there."""
        with (self._home / _LOCK).open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def packed(folder: Path) -> bytes:
    """A folder as a zip file, as a function's code is uploaded."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                archive.write(path, path.relative_to(folder))
    return content.getvalue()
