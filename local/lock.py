"""Locks against two commands in one checkout doing the same thing at the same time."""

import contextlib
import fcntl
from collections.abc import Iterator

from local.engine import ROOT
from order_capture_ops.errors import CommandError


class BusyError(CommandError):
    """Another process holds the lock."""


@contextlib.contextmanager
def exclusive(what: str, *, wait: bool) -> Iterator[None]:
    """Hold the lock of this name; the system releases it when the process ends, even if killed.

    Raises:
        BusyError: another process holds it and `wait` is false.
    """
    locks = ROOT / ".local/locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / what).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(f"Another `make {what}` is running in this checkout.") from None
        yield
