"""Random schedules keep I1 to I10, cover every fault at every call, and are reproducible."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from unittest import mock

import pytest

from tests.conftest import Say
from tests.simulation import functions
from tests.simulation.report import cells_expected, cells_table
from tests.simulation.run import Summary, run_all, run_range, run_seed, swept, trace_of
from tests.support.profile import AMOUNTS, FULL, part_of_day
from tests.support.template import ROOT

SEEDS = part_of_day(FULL.schedules, AMOUNTS.schedules)

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def summary() -> Summary:
    total = Summary()
    for part in run_all(SEEDS):
        total.merge(part)
    return total


@pytest.mark.timeout(1800)
def test_all_that_must_hold_holds_in_every_schedule(summary: Summary, say: Say) -> None:
    say(f"Simulated: {summary.schedules:,} of {FULL.schedules:,} schedules, from seed {SEEDS.start}")
    assert summary.schedules == len(SEEDS)
    if summary.broken:
        pytest.fail(trace_of(min(summary.broken)[0]))


def test_orders_end_in_every_way(summary: Summary) -> None:
    assert {status for status, number in summary.statuses.items() if number > len(SEEDS) / 200} == {
        "SHIPPED",
        "REJECTED",
        "CANCELLED",
        "EXPIRED",
    }


def test_an_item_that_nobody_can_read_is_dead_lettered_and_holds_up_no_order() -> None:
    with functions.simulated(), swept():
        outcomes = [run_seed(seed, unreadable=2) for seed in range(AMOUNTS.unreadable)]

    assert [outcome.broken for outcome in outcomes if outcome.broken] == []
    found = Counter(len(outcome.unreadable) for outcome in outcomes)
    assert set(found) <= {0, 1, 2}  # in some schedules little is ordered
    assert found[2] > 0.8 * AMOUNTS.unreadable


@pytest.mark.full
def test_every_fault_is_met_at_every_call(summary: Summary, say: Say) -> None:
    for table in cells_table(summary.cells):
        say(table)

    assert cells_expected() == {cell for cell, number in summary.cells.items() if number}


def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    """Independent of a process's iteration order of sets."""
    code = "import sys; from tests.simulation.run import trace_of; sys.stdout.write(trace_of(77))"

    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": f"layers{os.pathsep}.", "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert traces == {trace_of(77).encode()}


def test_the_trace_tells_who_did_what_and_what_went_wrong() -> None:
    traces = "\n".join(trace_of(seed) for seed in range(20))

    for text in ("order_api#", "put_item OrderTable", "✓", "[", "☠ crashed", "no more faults", "POST /order"):
        assert text in traces


def test_to_read_once_what_is_the_same_changes_nothing() -> None:
    seeds = range(60)
    once = [trace_of(seed) for seed in seeds]

    with mock.patch.object(functions, "_read_once", nullcontext):
        each_time = [trace_of(seed) for seed in seeds]

    assert once == each_time


def test_a_schedule_that_is_watched_goes_as_one_that_is_not() -> None:
    steps = run_range(range(30)).steps

    assert steps == sum(run_range(range(seed, seed + 1)).steps for seed in range(30))
