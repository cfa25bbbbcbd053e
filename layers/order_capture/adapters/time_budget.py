"""How much time the current invocation has left. Implements `application.retry.HasTimeLeft`."""

from __future__ import annotations

import time

from order_capture.adapters import aws_clients
from order_capture.domain.errors import TransientError

# What a function reserves to report what it has not done: enough for one attempt of a call to AWS. A function
# that times out reports nothing, and its whole batch comes again.
RESERVED_SECONDS = 3.0

_ends_at = float("inf")  # by the monotonic clock; a function's process handles one invocation at a time


def start(seconds: float) -> None:
    """Begin an invocation that is stopped after so many seconds."""
    global _ends_at
    _ends_at = time.monotonic() + seconds


def has_time_left() -> bool:
    """Whether there is time to start something more."""
    return time.monotonic() < _ends_at - RESERVED_SECONDS


def require_time() -> None:
    """Refuse a call to AWS that could outlast the function.

    Raises:
        TransientError: there is too little time for another attempt of the call.
    """
    if not has_time_left():
        raise TransientError("no time is left for a call to AWS")


aws_clients.before_each_try(require_time)
