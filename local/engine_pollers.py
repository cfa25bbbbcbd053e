"""When the engine takes the next batch of an event source mapping.

ministack has one thread for all sources. It waits for each stream's function, takes at most ten messages, and
has no batching windows. This module has the rules that replace this, without ministack. They suit a machine
of a few cores, where large batches matter more than an immediate start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

CORES = os.cpu_count() or 1

MAX_BATCH_BYTES = 6 * 1024 * 1024
"""The most that one invocation takes:
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


@dataclass
class Poller:
    """One event source mapping, with its function's batches in progress.

    Args:
        batch_size: the most records that its function gets.
        window: seconds that records may wait for others.
        limit: batches that may be in progress at a time; 1 for a stream, whose order must be kept.
        slow: seconds after which a batch no longer makes the next one wait: the start time of a process,
            which a concurrent batch usually needs. Few batches take a quarter of that, but a webhook's
            receiver may take fifteen seconds.
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

        A window saves invocations. It ends early if no function runs: then invocations cost nothing here, and
        the developer does not wait.

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

        Another one may start if the others are slow, or if it is full and a core is free.
        """
        in_progress = [*self.started.values()]
        if len(in_progress) >= self.limit:
            return False
        is_full = waiting >= self.batch_size
        return all(now >= each + self.slow for each in in_progress) or (is_full and len(in_progress) < CORES)

    def check_after(self, now: float) -> float:
        """Seconds after which the next batch may be due without new records, if records are waiting."""
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
    """How many of the messages with these sizes in bytes one invocation takes, at least one."""
    total = 0
    count = 0
    for size in sizes:
        total += size
        if count and (count == at_most or total > MAX_BATCH_BYTES):
            break
        count += 1
    return max(count, 1)


def wait_for_warm(leased: Iterable[float], now: float, *, starting: bool, start: float) -> float:
    """Seconds that an invocation waits for an existing process before it starts another one.

    Starting one takes a second of a core, and most invocations take a tenth of that. So processes are started
    one at a time. Beyond two per core (one waits for the engine while the other works), another is started
    only when the existing ones have been busy for a process's start time.

    Args:
        leased: when each process of the function got its work.
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
