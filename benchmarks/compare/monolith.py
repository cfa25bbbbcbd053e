"""A model of the traditional design in virtual time: application, pool, database, row locks, commits.

The costs of an order were measured on one machine (measured.toml). An order uses CPU of the application,
waits for a connection, uses CPU of the database, waits for the lock of its product's row, holds it until its
commit is on disk, and gets its response.

* Cores are servers with one queue: the load balancer and the operating system are assumed to be perfect.
* Commits are flushed together: those that arrive during a flush are in the next one.
* The database's single-core work (a place in the log, a snapshot) takes one order at a time.
* An order that waits too long for its connection or row is refused, as is one whose process has too many.
* A client gives up after a while; its order is still processed, and may be placed.

Not modelled, which makes the monolith look better than it is: checkpoints, vacuuming, disks at their limit,
cold caches, deployments, and the minute or two in which a standby takes over.
"""

from __future__ import annotations

import heapq
import math
import random
import tomllib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.compare.load import Load, Outage, Outcome
from benchmarks.flash_sale.constants import constant, settings_of
from benchmarks.traditional import credit
from tests.support.virtual_time import Time

MEASURED = Path(__file__).with_name("measured.toml")


@cache
def measured() -> Mapping[str, Any]:
    """The costs of the traditional design on one machine, from `make traditional MEASURE=1`."""
    return tomllib.loads(MEASURED.read_text())


def _measured(name: str, about: str) -> Any:
    return constant(measured()[name], 0.001, 10_000, about, "measured.toml")


@dataclass(frozen=True)
class Constants:
    """Names with `_ms` are in milliseconds; each can be set on the command line."""

    app_cpu_ms: float = _measured("app_cpu_ms", "CPU of the application for an order")
    db_cpu_ms: float = _measured("db_cpu_ms", "CPU of the database for an order")
    lock_ms: float = _measured("hot_row_lock_ms", "for which an order has its product's row, commit included")
    local_commit_ms: float = _measured("commit_ms", "a commit on the machine that it was measured on")
    local_round_trip_ms: float = _measured("round_trip_ms", "a statement and back on that machine")
    commit_ms: float = constant(1.0, 0.01, 1_000, "a commit on gp3 storage, with one database")
    standby_commit_ms: float = constant(
        2.0, 0.01, 1_000, "a commit that a standby in another zone has as well"
    )
    round_trip_ms: float = constant(0.6, 0.01, 1_000, "a statement and back, between two machines of a zone")
    balancer_ms: float = constant(2.0, 0, 1_000, "through the load balancer and back")
    serial_ms: float = constant(
        0.015,
        0,
        10,
        "of an order, what the database does by one core at a time: it ends at 67,000 a second, where "
        "pgbench's TPC-B ends on 32 to 96 vCPUs",
    )
    answer_share: float = constant(0.3, 0, 1, "of the application's CPU, what is spent on the answer")
    sigma: float = constant(0.35, 0, 2, "spread of all times: sigma of their lognormal distributions")
    connections: float = constant(
        20, 1, 1_000, "of a process, of which each core has one", "traditional/server.py"
    )
    connection_s: float = constant(
        5, 0.1, 100, "until an order without a connection is refused", "traditional/store.py"
    )
    lock_s: float = constant(5, 0.1, 100, "until an order without its row is refused", "traditional/store.py")
    in_flight: float = constant(1_000, 1, 1e6, "orders that a process takes at a time; it refuses all others")
    client_s: float = constant(10, 0.1, 1_000, "until a client has stopped waiting")
    credit_ms: float = constant(10, 0, 1e5, "the credit service, when all is well")


KNOWN: Mapping[str, Any] = {each.name: each for each in fields(Constants)}


def constants_from(settings: str) -> Constants:
    """The constants, some of them set: `db_cpu_ms=0.3 sigma=0`.

    Raises:
        UsageError: a constant is unknown, or its value is out of range.
    """
    return replace(Constants(), **settings_of(settings, KNOWN))


@dataclass(frozen=True)
class Servers:
    """The servers that the monolith runs on."""

    app_vcpus: float
    """vCPUs of each task."""
    tasks: int
    db_vcpus: int
    max_connections: int = 5_000
    standby: bool = True
    """Whether a commit waits for a standby in another zone."""
    shared: bool = False
    """Whether the database is on the application's own cores: one machine, one task, no network."""
    speed: float = 1.0
    """The share of each core that the monolith gets."""

    @property
    def processes(self) -> int:
        """One for each core, at least one for each task."""
        return self.tasks * max(1, int(self.app_vcpus))

    def connections(self, constants: Constants) -> int:
        """Connections of all processes, within the database's limit."""
        each = min(int(constants.connections), (self.max_connections - 10) // self.processes)
        return max(1, each) * self.processes


class Cores:
    """Cores with one queue, first come, first served."""

    def __init__(self, number: int, speed: float = 1.0) -> None:
        self._free = [0.0] * number
        self._speed = speed
        self.busy_seconds = 0.0

    def ends(self, now: float, seconds: float) -> float:
        """When work that is queued now is done."""
        ends = max(now, self._free[0]) + seconds / self._speed
        heapq.heapreplace(self._free, ends)
        self.busy_seconds += seconds / self._speed
        return ends

    def utilisation(self, seconds: float) -> float:
        """The share of the time in which they were busy."""
        return self.busy_seconds / (seconds * len(self._free))


class Log:
    """The database's log; a flush writes all waiting commits."""

    def __init__(self, flush: Callable[[], float]) -> None:
        """`flush` returns the seconds that the next flush takes."""
        self._flush = flush
        self._ends = self._next_ends = 0.0
        """When the current flush ends, and the next one, if commits wait for it."""
        self.flushes = 0

    def ends(self, now: float) -> float:
        """When a commit that arrives now is on disk."""
        if now >= self._next_ends:
            self.flushes += 1
            self._ends = self._next_ends = now + self._flush()
            return self._ends
        if now >= self._ends:
            self._ends = self._next_ends  # the next flush is in progress
        if self._next_ends == self._ends:
            self.flushes += 1
            self._next_ends = self._ends + self._flush()
        return self._next_ends


class Pool:
    """A limited number at a time; others queue, with a timeout."""

    def __init__(self, time: Time, number: int, patience: float) -> None:
        self._time, self._free, self._patience = time, number, patience
        self._line: deque[_Waiting] = deque()

    def acquire(self, granted: Callable[[], None], refused: Callable[[], None]) -> None:
        """Call one of the two, now or later."""
        if self._free:
            self._free -= 1
            granted()
            return
        waiting = _Waiting(granted, refused)
        self._line.append(waiting)
        self._time.call(waiting.expire, self._patience)

    def release(self) -> None:
        """Grant the next one."""
        while self._line:
            waiting = self._line.popleft()
            if not waiting.is_over:
                waiting.is_over = True
                waiting.granted()
                return
        self._free += 1


@dataclass(eq=False, slots=True)
class _Waiting:
    granted: Callable[[], None]
    refused: Callable[[], None]
    is_over: bool = False

    def expire(self) -> None:
        if not self.is_over:
            self.is_over = True
            self.refused()


class Breaker:
    """The circuit breaker of `benchmarks.traditional.credit`, in virtual time."""

    def __init__(self) -> None:
        self._failures, self._open_until = 0, 0.0

    def lets_through(self, now: float) -> bool:
        """Whether an order may call the service."""
        if self._failures >= credit.MAX_FAILURES:
            if now < self._open_until:
                return False
            self._open_until = now + credit.OPEN_SECONDS
        return True

    def failed(self, now: float) -> None:
        """Record a call without a response."""
        self._failures += 1
        self._open_until = now + credit.OPEN_SECONDS

    def succeeded(self) -> None:
        """Record a call with a response."""
        self._failures = 0


class Monolith:
    """Servers that process orders. `finished` is called for each request that is answered or refused."""

    def __init__(
        self, servers: Servers, constants: Constants, seed: int, *, outage: Outage | None = None
    ) -> None:
        self.time = Time()
        self.servers, self.constants = servers, constants
        self._chance = random.Random(seed)
        self._outage = outage
        self._breaker = Breaker()
        vcpus = servers.app_vcpus
        self.app = Cores(servers.tasks * max(1, int(vcpus)), min(1.0, vcpus) * servers.speed)
        self.db = self.app if servers.shared else Cores(servers.db_vcpus, servers.speed)
        self.serial = Cores(1)
        flush = constants.standby_commit_ms if servers.standby else constants.commit_ms
        # A row is locked until its commit is on disk, so a commit can't take longer than the lock. The two
        # are measured separately, so the figures may contradict that.
        local_flush = min(constants.local_commit_ms, 0.9 * constants.lock_ms)
        self._flush = local_flush if servers.shared else flush
        self._round_trip = constants.local_round_trip_ms if servers.shared else constants.round_trip_ms
        self._with_row = min(constants.lock_ms - local_flush, constants.db_cpu_ms)
        self.log = Log(lambda: self.latency(self._flush))
        self.pool = Pool(self.time, servers.connections(constants), constants.connection_s)
        self._rows: dict[int, Pool] = {}
        self.in_flight = 0
        self._most_in_flight = int(constants.in_flight) * servers.processes

    @property
    def row_seconds(self) -> float:
        """Average seconds that an order locks its product's row: this bounds the sales of one product."""
        return (self._with_row + self._flush) / 1000

    def latency(self, mean: float) -> float:
        """A random latency in seconds, from its mean in ms."""
        sigma = self.constants.sigma
        return mean / 1000 * math.exp(self._chance.gauss(-sigma * sigma / 2, sigma)) if sigma else mean / 1000

    def random_fraction(self) -> float:
        """A random number from 0 to 1."""
        return self._chance.random()

    def request(self, product: int, finished: Callable[[float | None], None]) -> None:
        """Receive an order now. `finished` gets the time at which it was placed, or None if it is refused."""
        _Request(self, product, finished).arrive()

    def row(self, product: int) -> Pool:
        """The lock of a product's row."""
        if product not in self._rows:
            self._rows[product] = Pool(self.time, 1, self.constants.lock_s)
        return self._rows[product]


class _Request:
    """One request, step by step."""

    __slots__ = ("_finished", "_monolith", "_placed", "_product", "_row")

    def __init__(self, monolith: Monolith, product: int, finished: Callable[[float | None], None]) -> None:
        self._monolith, self._product, self._finished = monolith, product, finished
        self._placed: float | None = None
        self._row: Pool | None = None

    def arrive(self) -> None:
        of = self._monolith
        if of.in_flight >= of._most_in_flight:
            self._finished(None)
            return
        of.in_flight += 1
        work = of.latency(of.constants.app_cpu_ms * (1 - of.constants.answer_share))
        self._at(of.app.ends(of.time.now, work), self._ask_credit if of._outage else self._connect)

    def _ask_credit(self) -> None:
        of, outage = self._monolith, self._monolith._outage
        now = of.time.now
        assert outage is not None
        if not of._breaker.lets_through(now):
            self._answer()
        elif not outage.lasts_at(now):
            self._at(now + of.latency(of.constants.credit_ms), self._good)
        elif outage.answers and outage.seconds < credit.TIMEOUT_SECONDS:
            self._at(now + outage.seconds, self._good)
        else:
            self._at(now + credit.TIMEOUT_SECONDS, self._unknown)

    def _good(self) -> None:
        self._monolith._breaker.succeeded()
        self._connect()

    def _unknown(self) -> None:
        self._monolith._breaker.failed(self._monolith.time.now)
        self._answer()

    def _connect(self) -> None:
        self._monolith.pool.acquire(self._send, self._answer)

    def _send(self) -> None:
        of = self._monolith
        self._at(of.time.now + of.latency(of._round_trip) / 2, self._decide)

    def _decide(self) -> None:
        of = self._monolith
        work = of.latency(max(0.0, of.constants.db_cpu_ms - of._with_row))
        self._at(of.db.ends(of.time.now, work), self._lock)

    def _lock(self) -> None:
        self._row = self._monolith.row(self._product)
        self._row.acquire(self._take, self._roll_back)

    def _take(self) -> None:
        of = self._monolith
        self._at(of.db.ends(of.time.now, of.latency(of._with_row)), self._log)

    def _log(self) -> None:
        of = self._monolith
        self._at(of.serial.ends(of.time.now, of.constants.serial_ms / 1000), self._commit)

    def _commit(self) -> None:
        of = self._monolith
        self._at(of.log.ends(of.time.now), self._committed)

    def _committed(self) -> None:
        assert self._row is not None
        self._placed = self._monolith.time.now
        self._row.release()
        self._roll_back()

    def _roll_back(self) -> None:
        """Or commit: either way the database has responded."""
        of = self._monolith
        self._at(of.time.now + of.latency(of._round_trip) / 2, self._disconnect)

    def _disconnect(self) -> None:
        self._monolith.pool.release()
        self._answer()

    def _answer(self) -> None:
        of = self._monolith
        work = of.latency(of.constants.app_cpu_ms * of.constants.answer_share)
        self._at(of.app.ends(of.time.now, work), self._leave)

    def _leave(self) -> None:
        self._monolith.in_flight -= 1
        self._finished(self._placed)

    def _at(self, when: float, step: Callable[[], None]) -> None:
        time = self._monolith.time
        time.call(step, when - time.now)


FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a refused client retries; doubled each time, up to the second figure."""


class _Client:
    """A client that orders once, and retries after a refusal for `patience` seconds."""

    __slots__ = ("_book", "_product", "_requested", "_sent", "_tries")

    def __init__(self, book: _Book, product: int) -> None:
        self._book, self._product = book, product
        self._tries = 0
        self._requested = 0.0
        self._sent = 0.0

    def order(self) -> None:
        of = self._book.monolith
        self._sent = of.time.now
        if not self._tries:
            self._requested = self._sent
        self._tries += 1
        of.time.call(self._arrive, of.latency(of.constants.balancer_ms) / 2)

    def _arrive(self) -> None:
        self._book.monolith.request(self._product, self._finished)

    def _finished(self, placed: float | None) -> None:
        book, of = self._book, self._book.monolith
        answered = of.time.now + of.latency(of.constants.balancer_ms) / 2
        waited = answered - self._sent
        if placed is not None:
            book.decided.append(placed - self._requested)
            book.placed.append(placed)
        if waited > of.constants.client_s:
            book.timed_out += 1
        elif placed is not None:
            book.answers.append(waited)
        elif answered - self._requested >= book.patience:
            book.refused += 1
        else:
            book.retries += 1
            pause = min(FIRST_PAUSE * 2 ** (self._tries - 1), LONGEST_PAUSE)
            of.time.call(self.order, pause * (0.5 + of.random_fraction()))


class _Book:
    """The outcomes of all clients."""

    def __init__(self, monolith: Monolith, patience: float) -> None:
        self.monolith, self.patience = monolith, patience
        self.answers: list[float] = []
        self.decided: list[float] = []
        self.placed: list[float] = []
        self.refused = self.timed_out = self.retries = 0


@dataclass(frozen=True)
class Played:
    """The outcome of a load, and the utilisation of the servers."""

    outcome: Outcome
    app_utilisation: float
    db_utilisation: float


def play(
    load: Load, servers: Servers, constants: Constants | None = None, *, seed: int, patience: float = 0.0
) -> Played:
    """Run a load; refused clients retry for `patience` seconds."""
    monolith = Monolith(servers, constants or Constants(), seed, outage=load.outage)
    book = _Book(monolith, patience)
    chance = random.Random(f"{load.name} {seed}")
    for at in load.times:
        monolith.time.call(_Client(book, chance.randrange(load.products)).order, at)
    monolith.time.run(load.ends)
    app, db = monolith.app.busy_seconds, monolith.db.busy_seconds
    monolith.time.run(load.ends + patience + 3_600)
    seconds = load.ends - load.times[0] or 1.0
    outcome = Outcome.of(
        requested=len(load.times),
        answers=book.answers,
        decided=book.decided,
        last=max(book.placed, default=0.0),
        load=load,
        retries=book.retries,
        refused=book.refused,
        timed_out=book.timed_out,
        timeline=counted(book.placed),
    )
    return Played(
        outcome,
        app / (seconds * len(monolith.app._free)),
        db / (seconds * len(monolith.db._free)),
    )


def capacity(
    servers: Servers,
    constants: Constants | None = None,
    *,
    clients: int,
    products: int,
    seconds: float,
    seed: int,
    client_cpu_ms: float = 0.0,
) -> float:
    """Orders a second, if this many clients each send the next order as soon as the last one is answered.

    `client_cpu_ms` is a client's CPU time for each order on the servers' own cores, if all share one machine.
    """
    monolith = Monolith(servers, constants or Constants(), seed)
    chance = random.Random(seed)
    done = 0

    def order() -> None:
        monolith.request(chance.randrange(products), finished)

    def finished(placed: float | None) -> None:
        nonlocal done
        done += placed is not None
        now = monolith.time.now
        pause = monolith.app.ends(now, monolith.latency(client_cpu_ms)) - now if client_cpu_ms else 0.0
        monolith.time.call(order, pause)

    for _ in range(clients):
        monolith.time.call(order, 0.01 * chance.random())
    monolith.time.run(seconds / 4)
    before = done
    monolith.time.run(seconds * 5 / 4)
    return (done - before) / seconds


def counted(times: Sequence[float]) -> list[tuple[float, float]]:
    """The cumulative count for each half second."""
    course, number, ordered = [], 0, sorted(times)
    step = 0.5
    for place in range(int((ordered[-1] if ordered else 0) / step) + 2):
        while number < len(ordered) and ordered[number] <= place * step:
            number += 1
        course.append((place * step, float(number)))
    return course
