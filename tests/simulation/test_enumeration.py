"""Every fault at every call of one order and of two that compete, and every two faults of one order."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conftest import Say
from tests.simulation import functions
from tests.simulation.enumeration import SCENARIOS, Case, parts, run_case, run_part
from tests.simulation.faults import Fault
from tests.simulation.run import on_all_cores
from tests.support.profile import AMOUNTS, sample


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_all_that_must_hold_holds_after_every_fault_and_every_two(say: Say) -> None:
    cases: Counter[str] = Counter()
    failed: list[str] = []
    every = parts()
    chosen = [
        part
        for kind in (
            [each for each in every if each.first is None],
            [each for each in every if each.first is not None],
        )
        for part in sample(kind, AMOUNTS.enumerated)
    ]
    for part, number, failures in on_all_cores(run_part, chosen):
        cases["single faults" if part.first is None else "pairs of faults"] += number
        failed += failures

    say(
        f"Enumerated: {cases['single faults']:,} single faults, {cases['pairs of faults']:,} pairs, "
        f"{len(chosen)} of {len(every)} parts"
    )
    assert not failed, f"{len(failed)} failed, the first of them:\n{failed[0]}"
    assert min(cases.values()) > (1000 if chosen == every else 0)


@pytest.mark.full
@pytest.mark.timeout(600)  # 45 s on an idle machine
def test_the_scenarios_end_as_they_say() -> None:
    with functions.simulated():
        for name, scenario in SCENARIOS.items():
            # Far more than the enumeration plays, since some ends are seldom: one that calls its order off is
            # almost always quicker than shipping.
            ends: set[str] = set()
            for interleaving in range(2_000):
                if interleaving >= 200 and ends == scenario.ends:
                    break
                ends |= set(run_case(Case(name, {}, interleaving)).outcome.statuses)
            assert ends == scenario.ends, name


def test_a_lost_publish_is_healed_within_a_minute_of_the_watch_delay() -> None:
    """The process dies between the order's write and its publish, and its client never comes back."""
    with functions.simulated():
        run = run_case(Case("one order, its client gone", {0: Fault.CRASH_AFTER}))

    (order,) = run.books.orders.values()
    shipped = order["timeline"]["L"][-1]["M"]
    assert shipped["status"]["S"] == "SHIPPED"
    assert "2026-11-20T10:01:00" <= shipped["time"]["S"] <= "2026-11-20T10:02:00"
