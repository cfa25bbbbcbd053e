"""One call of a function: what every handler has around it, and how much of its time is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from order_capture.adapters import aws_clients
from order_capture.domain.errors import TransientError
from order_capture.entrypoints import logs

logger = logging.getLogger(__name__)

# What a function keeps of its time to report what it has not done: enough for one try of a call to AWS.
# A function that runs out of time reports nothing, and all of its batch comes again.
RESERVED_SECONDS = 3.0

Result = TypeVar("Result")

_ends_at = float("inf")  # by the monotonic clock; a function's process does one call at a time


class InvocationFailedError(Exception):
    """A call has failed; the log says why. Its text names nobody, as Lambda logs it and answers it."""


def invocation(
    handle: Callable[[dict[str, Any], Any], Result],
) -> Callable[[dict[str, Any], Any], Result]:
    """The Lambda handler around `handle`: its logs are visible, its time known, and its errors discreet."""

    @wraps(handle)
    def handler(event: dict[str, Any], context: Any) -> Result:
        global _ends_at
        logs.configure()
        _ends_at = float("inf") if context is None else time.monotonic() + _remaining_seconds(context)
        try:
            return handle(event, context)
        except Exception as error:
            logger.exception("failed")
            # Not as its cause: the runtime may write that down as well.
            raise InvocationFailedError(logs.described(error)) from None

    return handler


def has_time_left() -> bool:
    """Whether there is time left to begin something more. Implements `application.ports.HasTimeLeft`."""
    return time.monotonic() < _ends_at - RESERVED_SECONDS


def _only_in_time() -> None:
    """Before each try of each call to AWS: none that could outlast the function, which then reports nothing.

    Raises:
        TemporaryError: a try that times out would end after the function.
    """
    if not has_time_left():
        raise TransientError("no time is left for a call to AWS")


def _remaining_seconds(context: Any) -> float:
    return float(context.get_remaining_time_in_millis()) / 1000


aws_clients.before_each_try(_only_in_time)
