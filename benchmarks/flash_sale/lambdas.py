"""Lambda in virtual time: environments that start cold, stay warm, and keep their process's state; streams.

All functions run in one process here. The state that separate processes would keep for each environment is
listed in `KEPT`, and is restored whenever an environment runs.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from zlib import crc32

from benchmarks.flash_sale.constants import Constants
from benchmarks.flash_sale.wiring import Function, StreamSource
from order_capture.adapters import time_budget
from order_capture.application.ledger.hot_heads import HotHeads
from tests.support.aws.dynamodb import Change
from tests.support.event_filters import matches
from tests.support.virtual_time import Time

Handler = Callable[[dict[str, Any], Any], Any]

KEPT: tuple[tuple[Any, str], ...] = ((time_budget, "_ends_at"),)
"""Modules and names of the state that an environment's process keeps, during and between calls."""

STREAM_RETRY = 1.0  # seconds until a failed batch of a stream is retried


class TimedOutError(Exception):
    """Lambda stopped a function at its timeout."""


class _Stopped(BaseException):
    """The process has ended. Not an Exception, so that the application's handlers can't catch it."""


class ThrottledError(Exception):
    """No environment is free, and no new one is allowed."""


@dataclass(eq=False)
class Environment:
    """Where a function runs, one call at a time."""

    function: Function
    kept: list[Any]
    ends: float = float("inf")
    hot_heads: HotHeads = field(default_factory=HotHeads)


@dataclass
class _Pool:
    function: Function
    idle: list[Environment] = field(default_factory=list)
    allowed: float = 0.0
    since: float = 0.0
    calls: int = 0
    seconds: float = 0.0
    running: int = 0
    most: int = 0


class Lambda:
    """All functions of an account."""

    def __init__(
        self,
        time: Time,
        constants: Constants,
        functions: Mapping[str, Function],
        handler_of: Callable[[str], Handler],
    ) -> None:
        self._time, self._constants, self._handler_of = time, constants, handler_of
        self._fresh = [getattr(module, name) for module, name in KEPT]
        self._running = 0
        self._calls = 0
        self.invocations = 0
        self.cold_starts = 0
        self.throttles = 0
        self.timeouts = 0
        self.most = 0
        """Maximum concurrent executions."""
        self.current: Environment | None = None
        self._pools = {}
        for name, function in functions.items():
            warm = constants.warm_api if not (function.queues or function.streams) else constants.warm
            pool = _Pool(function, allowed=constants.scaling_per_second * 10)
            pool.idle = [self._new(function) for _ in range(int(warm))]
            self._pools[name] = pool

    def invoke(self, name: str, event: dict[str, Any]) -> Any:
        """Call a function from a task, and return its result.

        Raises:
            ThrottledError: the concurrency limit is reached.
            TimedOutError: it exceeded its timeout.
        """
        pool = self._pools[name]
        environment, is_cold = self._acquire(pool)
        self._running += 1
        self.most = max(self.most, self._running)
        self.invocations += 1
        pool.running += 1
        pool.most = max(pool.most, pool.running)
        started = self._time.now
        self._enter(environment)
        try:
            if is_cold:
                self.cold_starts += 1
                self.sleep(self._constants.cold_start_ms / 1000)
            environment.ends = self._time.now + pool.function.timeout
            self.sleep(self._constants.invocation_ms / 1000)
            answer = self._handler_of(name)(event, self._context(environment))
        except _Stopped:
            # The next call gets a new process.
            self.timeouts += 1
            environment.kept = copy.deepcopy(self._fresh)
            raise TimedOutError(name) from None
        finally:
            environment.ends = float("inf")
            self._leave(environment)
            self._running -= 1
            pool.running -= 1
            pool.calls += 1
            pool.seconds += self._time.now - started
            pool.idle.append(environment)
        return answer

    def invoke_until_taken(self, name: str, event: dict[str, Any]) -> Any:
        """Call a function as an event source mapping does, which waits while it is throttled."""
        while True:
            try:
                return self.invoke(name, event)
            except ThrottledError:
                self._time.sleep(0.1)

    @property
    def by_function(self) -> dict[str, dict[str, float]]:
        """For each called function: calls, their mean ms, and the maximum concurrency."""
        return {
            name: {
                "calls": pool.calls,
                "mean_ms": round(pool.seconds / pool.calls * 1000, 1),
                "most": pool.most,
            }
            for name, pool in self._pools.items()
            if pool.calls
        }

    def sleep(self, seconds: float) -> None:
        """Let others run while the current function waits; it may be stopped meanwhile."""
        environment = self.current
        if environment is None:
            self._time.sleep(seconds)
            return
        left = environment.ends - self._time.now
        self._leave(environment)
        self._time.sleep(min(seconds, max(left, 0)))
        self._enter(environment)
        if seconds > left:
            raise _Stopped

    def monotonic(self) -> float:
        """Replaces `time.monotonic`."""
        return self._time.now

    def _acquire(self, pool: _Pool) -> tuple[Environment, bool]:
        if self._running >= self._constants.concurrency:
            self.throttles += 1
            raise ThrottledError(pool.function.name)
        if pool.idle:
            return pool.idle.pop(), False
        now, rate = self._time.now, self._constants.scaling_per_second
        pool.allowed = min(pool.allowed + (now - pool.since) * rate, 10 * rate)
        pool.since = now
        if pool.allowed < 1:
            self.throttles += 1
            raise ThrottledError(pool.function.name)
        pool.allowed -= 1
        return self._new(pool.function), True

    def _new(self, function: Function) -> Environment:
        return Environment(function, copy.deepcopy(self._fresh))

    def _enter(self, environment: Environment) -> None:
        for (module, name), value in zip(KEPT, environment.kept, strict=True):
            setattr(module, name, value)
        self.current = environment

    def _leave(self, environment: Environment) -> None:
        environment.kept = [getattr(module, name) for module, name in KEPT]
        self.current = None

    def _context(self, environment: Environment) -> Any:
        self._calls += 1
        return SimpleNamespace(
            aws_request_id=f"call-{self._calls}",
            function_name=environment.function.name,
            get_remaining_time_in_millis=lambda: round((environment.ends - self._time.now) * 1000),
        )


class StreamMapping:
    """Reads a table's stream for a function; an item's changes are in order, in one lane of one shard."""

    def __init__(
        self,
        time: Time,
        constants: Constants,
        source: StreamSource,
        key_names: tuple[str, ...],
        invoke: Callable[[dict[str, Any]], Any],
        pause: Callable[[float], None],
    ) -> None:
        self._time, self._constants, self._source = time, constants, source
        self._key_names, self._invoke, self._pause = key_names, invoke, pause
        self._lanes = [_Lane() for _ in range(int(constants.shards) * source.lanes)]
        self.failures = 0

    def take(self, change: Change, record: Mapping[str, Any]) -> None:
        """Add a committed change."""
        if not any(matches(record, each) for each in self._source.filters):
            return
        lane = self._lanes[crc32(change.key[0].encode()) % len(self._lanes)]
        lane.waiting.append(record)
        if not lane.is_busy:
            lane.is_busy = True
            self._time.spawn(partial(self._read, lane))

    @property
    def depth(self) -> int:
        """Waiting records."""
        return sum(len(lane.waiting) + lane.is_busy for lane in self._lanes)

    def _read(self, lane: _Lane) -> None:
        self._pause(self._constants.stream_ms)
        if len(lane.waiting) < self._source.batch_size and self._source.window:
            self._time.sleep(self._source.window)
        while lane.waiting:
            number = min(len(lane.waiting), self._source.batch_size)
            batch = [lane.waiting[index] for index in range(number)]
            try:
                self._invoke({"Records": batch})
            except Exception:  # after any error of the function the batch is retried
                self.failures += 1
                self._time.sleep(STREAM_RETRY)
                continue
            for _ in batch:
                lane.waiting.popleft()
        lane.is_busy = False


@dataclass(eq=False)
class _Lane:
    waiting: deque[Mapping[str, Any]] = field(default_factory=deque)
    is_busy: bool = False
