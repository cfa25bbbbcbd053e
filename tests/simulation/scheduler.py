"""Cooperative tasks in one thread, switched where they wait, and a virtual clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from greenlet import getcurrent, greenlet

START = datetime(2026, 11, 20, 10, tzinfo=UTC)


class Crashed(BaseException):
    """A task's process has ended. Not an Exception, so that the application's handlers can't catch it."""


@dataclass(slots=True, eq=False)
class Task:
    """A run of a function, or a client. `skew` is how wrong the clock is that it reads, in milliseconds;
    `newer` says that it runs the next release."""

    name: str
    place: str
    skew: int
    newer: bool
    wakes: int
    run: Callable[[], None]
    runner: _Runner


class _Runner(greenlet):
    """Runs tasks one after the other: a greenlet for each takes an eighth of a schedule's time."""

    task: Task | None = None

    def run(self) -> None:
        hub = self.parent
        assert hub is not None
        while self.task is not None:
            self.task.run()
            self.task = None
            _idle.append(self)
            hub.switch()


_idle: list[_Runner] = []
_NOBODY = Task("", "", 0, False, 0, lambda: None, _Runner())


class Scheduler:
    """The tasks, and the time in milliseconds. `chance` picks the next task."""

    def __init__(self, chance: random.Random, switching: float) -> None:
        """`switching` is the probability that a task yields where it could."""
        self._chance = chance
        self._switching = switching
        self._hub = getcurrent()
        self._started = 0
        self.tasks: list[Task] = []
        self.current = _NOBODY
        """The task that runs."""
        self.now = 0

    # For tasks

    def may_switch(self) -> None:
        """A point where others may run."""
        if self._chance.random() < self._switching:
            self._hub.switch()

    def sleep(self, milliseconds: int) -> None:
        """Let others run for at least this time."""
        self.current.wakes = self.now + milliseconds
        self._hub.switch()

    # For who runs them

    def spawn(self, name: str, skew: int, newer: bool, run: Callable[[], None]) -> Task:
        """A new task, ready to run."""
        self._started += 1
        runner = _idle.pop() if _idle else _Runner(parent=self._hub)
        task = Task(f"{name}{'′' if newer else ''}#{self._started}", name, skew, newer, self.now, run, runner)
        runner.task = task
        self.tasks.append(task)
        return task

    def ready(self) -> list[Task]:
        """The tasks that can run now."""
        now = self.now
        return [task for task in self.tasks if task.wakes <= now]

    def resume(self, task: Task) -> None:
        """Run a task until it yields or ends."""
        self.now += 1
        self.current = task
        task.runner.switch()
        self.current = _NOBODY
        if task.runner.task is not task:
            self.tasks.remove(task)

    def kill_all(self) -> None:
        """End the remaining tasks of a failed schedule."""
        for task in self.tasks:
            task.runner.throw()
        self.tasks.clear()


@lru_cache(maxsize=4096)
def timestamp(milliseconds: int) -> str:
    """A time of a schedule in the application's format."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    return f"{START + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"
