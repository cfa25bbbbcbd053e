"""Who orders when, and what became of it: the same for every design."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outage:
    """A time in which the credit service is slow, or does not answer."""

    begins: float
    ends: float
    seconds: float
    """How long a call takes; if the service does not answer, how long a caller waits for it."""
    answers: bool

    def lasts_at(self, time: float) -> bool:
        """Whether it has begun and is not over."""
        return self.begins <= time < self.ends


@dataclass(frozen=True)
class Load:
    """Orders of one unit each, by the second at which each is sent."""

    name: str
    times: Sequence[float]
    products: int
    outage: Outage | None = None

    @property
    def ends(self) -> float:
        """When the last one is sent."""
        return self.times[-1]


def arrivals(rate: float, seconds: float, *, seed: int, begins: float = 0.0) -> list[float]:
    """When independent customers order, of whom so many come in a second on average."""
    chance = random.Random(f"arrivals {rate:g} {seconds:g} {seed}")
    number = round(rate * seconds)
    return sorted(begins + chance.uniform(0, seconds) for _ in range(number))


@dataclass(frozen=True)
class Outcome:
    """What became of the orders of a load. Times in seconds; None for what never was."""

    requested: int
    accepted: int
    """Answered in time that the order is taken."""
    refused: int
    """Answered 503, for good."""
    timed_out: int
    """Clients that have stopped waiting: they do not know whether they have bought anything."""
    retries: int
    answer_p50: float | None
    answer_p99: float | None
    decided_p50: float | None
    """From the first attempt."""
    decided_p99: float | None
    drained: float
    """From the last order that was sent until all that were taken are decided."""
    timeline: Sequence[tuple[float, float]] = ()
    """Seconds, and how many were decided by then."""

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
        """From the times of each order; `last` is when the last one was decided."""
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
        """The share of the orders that were taken."""
        return self.accepted / self.requested

    def figures(self) -> dict[str, Any]:
        """What is printed as JSON."""
        found = asdict(self)
        del found["timeline"]
        return found


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that so many do not exceed; None if there is none."""
    if not values:
        return None
    return round(sorted(values)[min(int(len(values) * share), len(values) - 1)], 4)
