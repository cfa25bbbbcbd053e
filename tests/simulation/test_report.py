"""The summary of `make simulate`: it claims only what was checked."""

from __future__ import annotations

from collections import Counter

from tests.simulation.__main__ import summary_of
from tests.simulation.report import INVARIANTS, cells_expected
from tests.simulation.run import Summary


def summary(schedules: int, *, met: bool, broken: list[tuple[int, list[str]]] | None = None) -> Summary:
    cells = Counter(dict.fromkeys(cells_expected(), 1 if met else 0))
    return Summary(schedules, 1000, broken or [], cells, Counter({"SHIPPED": schedules}))


def test_what_held_is_named_where_every_fault_was_met() -> None:
    lines = summary_of(summary(10_000, met=True), 10.0)

    assert lines[-1] == "✓ All of it held in all 10,000 schedules."
    for code, meaning in INVARIANTS.items():
        assert f"✓ {code:3} {meaning}" in lines
    assert max(map(len, lines)) <= 80


def test_too_few_schedules_claim_nothing() -> None:
    lines = summary_of(summary(12, met=False), 1.0)

    assert "12 schedules are too few to show that it holds" in lines[-1]
    assert not [line for line in lines if "✓" in line]


def test_what_fell_is_named_with_the_command_that_shows_it() -> None:
    lines = summary_of(summary(10_000, met=True, broken=[(7, ["I4: shipped twice"])]), 10.0)

    assert lines[-1] == "✗ Schedules that failed: 1 of 10,000"
    assert f"✗ I4  {INVARIANTS['I4']}: 1 schedules" in lines
    assert "✗ make simulate SEED=7" in lines
