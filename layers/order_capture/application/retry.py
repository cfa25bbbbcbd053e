"""Retry a write that conflicts with another: a few times, and while there is time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Backoff = Callable[[int], None]
"""Waits after attempt number n of a conflicting write; with jitter, so that the writers separate."""

HasTimeLeft = Callable[[], bool]
"""Whether there is time to start more work before the function is stopped."""

MAX_ATTEMPTS = 12
"""Attempts of a write before its message goes back to the queue, or its client is asked to send the request
again. With pauses of at most 160 ms, twelve attempts take about a second: well within every function's
timeout, and enough for the other writers of a hot item to finish."""


def always() -> bool:
    """Always True: no time limit. Implements `HasTimeLeft`."""
    return True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One of the attempts of a write."""

    number: int
    retry: Retry

    def back_off(self) -> None:
        """Wait for a conflicting write to finish, unless no attempt follows."""
        if self.number < self.retry.max_attempts and self.retry.has_time_left():
            self.retry.backoff(self.number)


@dataclass(frozen=True, slots=True)
class Retry:
    """Limits the number of attempts of a write, and their time.

    Example:
        for attempt in self.retry:
            try:
                return write()
            except VersionConflictError:
                attempt.back_off()
        raise TransientError("The order is changing at this moment.")
    """

    backoff: Backoff
    has_time_left: HasTimeLeft = always
    max_attempts: int = MAX_ATTEMPTS

    def __iter__(self) -> Iterator[Attempt]:
        """Yield the attempts: the first one, and further ones while there is time left."""
        for number in range(1, self.max_attempts + 1):
            if number > 1 and not self.has_time_left():
                return
            yield Attempt(number, self)
