"""Virtual time: events in order of time, in one thread, without real waiting.

Tasks are greenlets: a sleeping task lets others run, and time jumps to the next event.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from greenlet import getcurrent, greenlet

from order_capture.domain.times import format_utc

START = datetime(2026, 11, 20, 10, tzinfo=UTC)


class _Runner(greenlet):
    """Runs tasks one after the other: a greenlet for each would cost more than most tasks."""

    task: Callable[[], object] | None = None
    idle: list[_Runner]

    def run(self) -> None:
        hub = self.parent
        assert hub is not None
        while self.task is not None:
            self.task()
            self.task = None
            self.idle.append(self)
            hub.switch()


class Time:
    """The seconds since the start, and the scheduled events."""

    def __init__(self) -> None:
        self.now = 0.0
        self._until = 0.0
        self._hub = getcurrent()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._idle: list[_Runner] = []

    def spawn(self, run: Callable[[], object], delay: float = 0) -> None:
        """Start a task, which may sleep."""
        self.call(lambda: self._start(run), delay)

    def call(self, run: Callable[[], object], delay: float = 0) -> None:
        """Schedule a call that takes no time."""
        heapq.heappush(self._due, (self.now + delay, next(self._order), run))

    def sleep(self, seconds: float) -> None:
        """Let others run for this time."""
        wakes = self.now + seconds
        if wakes <= self._until and (not self._due or self._due[0][0] > wakes):
            self.now = wakes  # no other task is due
            return
        heapq.heappush(self._due, (wakes, next(self._order), getcurrent().switch))
        self._hub.switch()

    def run(self, until: float) -> None:
        """Run until this time."""
        self._until = until
        while self._due and self._due[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._due)
            happen()
        self.now = until

    def written(self) -> str:
        """The time in the application's format."""
        return format_utc(START + timedelta(seconds=self.now))

    def _start(self, run: Callable[[], object]) -> None:
        if self._idle:
            runner = self._idle.pop()
        else:
            runner = _Runner(parent=self._hub)
            runner.idle = self._idle
        runner.task = run
        runner.switch()
