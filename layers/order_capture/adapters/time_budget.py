"""The time that the current invocation has left. Implements `application.retry.HasTimeLeft`."""

from __future__ import annotations

import time

from order_capture.adapters import aws_clients
from order_capture.domain.errors import TransientError

# Reserved for reporting unfinished work: enough for one attempt of a call to AWS. A function that times out
# reports nothing, and its whole batch is delivered again.
RESERVED_SECONDS = 3.0

_ends_at = float("inf")  # on the monotonic clock; a function's process handles one invocation at a time


def start(seconds: float) -> None:
    """Start an invocation that Lambda stops after `seconds`."""
    global _ends_at
    _ends_at = time.monotonic() + seconds


def has_time_left() -> bool:
    """Whether there is time to start more work."""
    return time.monotonic() < _ends_at - RESERVED_SECONDS


def require_time() -> None:
    """Refuse a call to AWS that could outlast the function.

    Raises:
        TransientError: there is too little time for another attempt of the call.
    """
    if not has_time_left():
        raise TransientError("no time is left for a call to AWS")


aws_clients.before_each_try(require_time)
