"""The load and its outcome, in the same form for every design."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outage:
    """A period in which the credit service is slow or down."""

    begins: float
    ends: float
    seconds: float
    """How long a call takes; if the service is down, how long a caller waits for it."""
    answers: bool

    def lasts_at(self, time: float) -> bool:
        """Whether the outage is in progress."""
        return self.begins <= time < self.ends


@dataclass(frozen=True)
class Load:
    """Orders of one unit each, with the time at which each is sent, in seconds."""

    name: str
    times: Sequence[float]
    products: int
    outage: Outage | None = None

    @property
    def ends(self) -> float:
        """When the last one is sent."""
        return self.times[-1]


def arrivals(rate: float, seconds: float, *, seed: int, begins: float = 0.0) -> list[float]:
    """Arrival times of independent customers, at an average rate per second."""
    chance = random.Random(f"arrivals {rate:g} {seconds:g} {seed}")
    number = round(rate * seconds)
    return sorted(begins + chance.uniform(0, seconds) for _ in range(number))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a load's orders. Times in seconds; None if it never happened."""

    requested: int
    accepted: int
    """Orders that were accepted in time."""
    refused: int
    """Orders whose last response was a 503."""
    timed_out: int
    """Clients that stopped waiting, and do not know whether their order was placed."""
    retries: int
    answer_p50: float | None
    answer_p99: float | None
    decided_p50: float | None
    """From the first attempt."""
    decided_p99: float | None
    drained: float
    """From the last order sent until all accepted ones are decided."""
    timeline: Sequence[tuple[float, float]] = ()
    """Pairs of seconds and the orders decided by then."""

    @classmethod
    def of(
        cls,
        *,
        requested: int,
        answers: Sequence[float],
        decided: Sequence[float],
        last: float,
        load: Load,
        retries: int = 0,
        refused: int = 0,
        timed_out: int = 0,
        timeline: Sequence[tuple[float, float]] = (),
    ) -> Outcome:
        """Create it from each order's times; `last` is when the last one was decided."""
        return cls(
            requested=requested,
            accepted=len(answers),
            refused=refused,
            timed_out=timed_out,
            retries=retries,
            answer_p50=quantile(answers, 0.5),
            answer_p99=quantile(answers, 0.99),
            decided_p50=quantile(decided, 0.5),
            decided_p99=quantile(decided, 0.99),
            drained=round(max(0.0, last - load.ends), 3),
            timeline=timeline,
        )

    @property
    def taken(self) -> float:
        """The share of the orders that were accepted."""
        return self.accepted / self.requested

    def figures(self) -> dict[str, Any]:
        """The figures for JSON output."""
        found = asdict(self)
        del found["timeline"]
        return found


def quantile(values: Sequence[float], share: float) -> float | None:
    """The quantile of the values; None without values."""
    if not values:
        return None
    return round(sorted(values)[min(int(len(values) * share), len(values) - 1)], 4)
