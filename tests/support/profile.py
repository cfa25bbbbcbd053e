"""How much of each long proof a run does: all of it, or a part that fits into minutes, a new one each day.

`make test` runs the fast profile, everything else the full one. An environment variable selects it, since it
reaches every process of a run: those of pytest-xdist, of the simulation, and of the tests themselves.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeVar

Of = TypeVar("Of")

ALL = 1_000_000


@dataclass(frozen=True)
class Amounts:
    """The amounts of a profile."""

    schedules: int
    """Random schedules of the simulation."""
    unreadable: int
    """Random schedules with unreadable messages."""
    enumerated: int
    """Parts of the enumeration of faults, each about a hundred cases of single faults and pairs."""
    mutants: int
    fuzz_cases: int
    last_units: int
    """Rounds in which sixteen processes compete for the last unit."""
    orders_at_stop: int
    """Orders during which the engine is stopped or killed."""
    clients_at_kill: int
    """Clients whose functions are killed while they run."""
    parameters: int
    """Parameters of each parametrized test of the suites in SAMPLED."""


FULL = Amounts(
    schedules=10_000,
    unreadable=300,
    enumerated=ALL,
    mutants=ALL,
    fuzz_cases=2_000,
    last_units=1_000,
    orders_at_stop=200,
    clients_at_kill=100,
    parameters=ALL,
)
FAST = Amounts(
    schedules=500,
    unreadable=60,
    enumerated=3,
    mutants=4,
    fuzz_cases=100,
    last_units=40,
    orders_at_stop=40,
    clients_at_kill=20,
    parameters=1,
)
MODULE, TEST = "module", "test"

SAMPLED = (
    *("tests/browser/", "tests/contract/", "tests/deployed/", "tests/operations/", "tests/pipeline/"),
    "tests/simulation/test_deliveries.py",
)
"""Suites whose tests take a tenth of a second to seconds: a run limits the parameters of each."""

ROTATED = {
    "tests/concurrency/": (MODULE, 4),
    "tests/deployed/test_fuzz.py": (TEST, 1),  # of its cases, some run each day
    "tests/deployed/": (TEST, 3),
    "tests/messages/test_changes.py": (TEST, 8),
    "tests/operations/": (TEST, 3),
    "tests/pipeline/": (TEST, 2),
}
"""Suites whose tests mostly take seconds or minutes: the number of days in which each module or test runs
once. The first matching prefix counts."""

# fast; full; or rest: of the full one, what the fast one has left out that day.
NAME = os.environ.setdefault("TEST_PROFILE", "full")
IS_FAST = NAME == "fast"
COMMAND = "make test" if IS_FAST else "make prove REST=1"
AMOUNTS = FAST if IS_FAST else FULL


def _day() -> date:
    # Kept in the environment, so that a run around midnight has a single day.
    given = os.environ.setdefault("TEST_DAY", f"{datetime.now():%Y-%m-%d}")  # noqa: DTZ005
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise SystemExit(f"DAY is a date, such as 2026-11-28, and not {given!r}") from None


DAY = _day()
"""Determines the samples: the same day gives the same ones."""


def sample(of: Sequence[Of], number: int, key: str = "") -> list[Of]:
    """A sample of this size, in order: the next ones each day, until all had their turn.

    Their sequence is random, and different for each `key`.
    """
    if number >= len(of):
        return list(of)
    sequence = random.Random(key).sample(range(len(of)), len(of))
    first = DAY.toordinal() * number
    chosen = [sequence[place % len(of)] for place in range(first, first + number)]
    return [of[index] for index in sorted(chosen)]


def turns_of_day(tests: Sequence[str]) -> set[str]:
    """The tests whose turn it is, by their ids without parameters."""
    chosen: set[str] = set()
    left = list(tests)
    for prefix, (kind, days) in ROTATED.items():
        units: dict[str, list[str]] = {}
        for test in left:
            if test.startswith(prefix):
                units.setdefault(test.partition("::")[0] if kind is MODULE else test, []).append(test)
        left = [test for test in left if not test.startswith(prefix)]
        for unit in sample([*units], -(-len(units) // days), prefix):
            chosen.update(units[unit])
    return chosen.union(left)


def part_of_day(whole: int, part: int) -> range:
    """One of this many parts: the next one each day, until all had their turn."""
    first = DAY.toordinal() * part % whole
    return range(first, min(first + part, whole))
