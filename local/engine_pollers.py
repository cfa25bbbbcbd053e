"""When the engine takes the next batch of an event source mapping.

ministack has one thread for all sources. It waits for each stream's function, takes at most ten messages, and
knows no windows. This is the part without ministack of what replaces it: the rules. They are for a machine
of a few cores, where what counts is not that a batch starts at once, but that it holds many records.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

CORES = os.cpu_count() or 1

MAX_BATCH_BYTES = 6 * 1024 * 1024
"""What one invocation takes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


@dataclass
class Poller:
    """One event source mapping, with the batches that its function is working on.

    Args:
        batch_size: records that its function gets at most.
        window: seconds that records may wait for others.
        limit: batches that may be in progress at a time; 1 for a stream, whose order must be kept.
        slow: seconds after which a batch no longer makes the next one wait: those that a process takes to
            start, which another batch in progress mostly needs. Few batches take a quarter of that, but a
            webhook's receiver may take fifteen seconds.
    """

    batch_size: int = 1
    window: float = 0.0
    limit: int = 1
    slow: float = 0.5
    started: dict[object, float] = field(default_factory=dict)
    """When each batch in progress was started."""
    _waiting_since: float | None = None

    def is_due(self, waiting: int, now: float, *, idle: bool) -> bool:
        """Whether to take a batch now.

        A window is there to save invocations. It ends early if no other function runs: here they cost nothing
        then, and whoever works on a laptop does not wait.

        Args:
            waiting: records that can be taken.
            now: the time in seconds.
            idle: no function runs.
        """
        if not waiting:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        return self._may_start(waiting, now) and (
            idle or waiting >= self.batch_size or now >= self._waiting_since + self.window
        )

    def _may_start(self, waiting: int, now: float) -> bool:
        """One batch at a time, so that the next one fills meanwhile.

        Another one if the others are slow, or if it is full and there is a core for it.
        """
        in_progress = [*self.started.values()]
        if len(in_progress) >= self.limit:
            return False
        is_full = waiting >= self.batch_size
        return all(now >= each + self.slow for each in in_progress) or (is_full and len(in_progress) < CORES)

    def check_after(self, now: float) -> float:
        """Seconds after which time alone may make the next batch due, if records are waiting."""
        if self._waiting_since is None:
            return self.slow
        ends = [self._waiting_since + self.window, *(each + self.slow for each in [*self.started.values()])]
        return min((each - now for each in ends if each > now), default=self.slow)

    def start(self, now: float) -> object:
        """Note that a batch was taken; returns what `end` needs."""
        batch = object()
        self.started[batch] = now
        self._waiting_since = None
        return batch

    def end(self, batch: object) -> None:
        """Note that a batch has ended."""
        self.started.pop(batch, None)


def fitting(sizes: Iterable[int], at_most: int) -> int:
    """How many of the messages with these sizes in bytes one invocation takes, one at least."""
    total = 0
    count = 0
    for size in sizes:
        total += size
        if count and (count == at_most or total > MAX_BATCH_BYTES):
            break
        count += 1
    return max(count, 1)


def wait_for_warm(leased: Iterable[float], now: float, *, starting: bool, start: float) -> float:
    """Seconds that an invocation waits for one of its function's processes instead of starting another one.

    It takes a second of a core to start one, and most invocations take a tenth of that. So they start one
    after the other. And beyond two a core, of which one waits for the engine while the other works, another
    one is started only when those that there are have been busy for as long as that takes.

    Args:
        leased: when each process of the function was given its work.
        now: the time in seconds.
        starting: one of them is starting.
        start: seconds that a process takes to start.
    """
    leased = list(leased)
    if starting:
        return start
    if len(leased) < 2 * CORES:
        return 0.0
    return max(0.0, max(leased) + start - now)
