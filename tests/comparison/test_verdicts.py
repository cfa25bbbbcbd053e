"""Verdicts follow from the figures, with a margin, and change with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.compare.verdicts import better, verdicts


@pytest.mark.parametrize(
    ("serverless", "monolith", "more", "winner"),
    [
        (1.0, 2.0, False, "serverless"),
        (2.0, 1.0, False, "monolith"),
        (2.0, 1.0, True, "serverless"),
        (1.0, 1.2, False, "neither"),
        (1.2, 1.0, False, "neither"),
        (None, 1.0, False, "monolith"),
        (1.0, None, False, "serverless"),
        (None, None, False, "neither"),
    ],
)
def test_who_is_better_by_less_than_the_margin_is_not(
    serverless: float | None, monolith: float | None, more: bool, winner: str
) -> None:
    assert better(serverless, monolith, more=more) == winner


def outcome(
    accepted: int = 100, decided: float = 0.1, answer: float = 0.04, last: float = 10.0
) -> dict[str, Any]:
    return {
        "requested": 100,
        "accepted": accepted,
        "timed_out": 0,
        "decided_p50": decided,
        "decided_p99": decided,
        "answer_p50": answer,
        "decided_all_at": last,
        "caught_up": 50.0,
        "dollars_per_million": 1.0,
        "fits": True,
        "first_limit": "database log",
    }


FIGURES: dict[str, Any] = {
    "limits": {"MaximumConcurrency": 4_000, "SNS": 5_000},
    "steady": [
        {"rate": rate, "serverless": outcome(), "monolith": outcome()} for rate in (100, 1_000, 20_000)
    ],
    "break_even": {"with_standby": 0.5, "idle_month": {"serverless": 50.0, "with_standby": 50.0}},
    "burst": {
        **{name: outcome() for name in ("serverless", "monolith", "for the peak")},
        "month": {"serverless": 100, "monolith": 100, "for the peak": 100},
        "base": 10,
    },
    "hot": {"serverless": outcome(), "with retries": outcome(), "row_bound_per_second": 400},
    "slow": {"serverless": outcome(), "monolith": outcome()},
    "away": {name: outcome() for name in ("serverless", "monolith", "with retries")},
    "alternatives": {
        "naive": {"hot": outcome(), "hot_as_built": outcome()},
        "as_built": {"one_by_one": 40.0, "dollars_per_million": 20.0},
        "step_functions": {"standard": 200.0, "express": 30.0},
    },
}


def judged(change: Callable[[dict[str, Any]], None] = lambda figures: None) -> dict[str, str]:
    figures = copy.deepcopy(FIGURES)
    change(figures)
    return {each.scenario: each.winner for each in verdicts(figures)}


def test_where_both_do_the_same_neither_wins() -> None:
    ceiling = {"ceiling": "monolith"}  # 20,000 on the monolith, 4,000 as deployed

    assert judged() == dict.fromkeys(judged(), "neither") | ceiling


@pytest.mark.parametrize(
    ("scenario", "winner", "change"),
    [
        ("decision", "monolith", lambda of: of["steady"][0]["monolith"].update(decided_p99=0.01)),
        ("cost, busy", "monolith", lambda of: of["steady"][1]["serverless"].update(dollars_per_million=20)),
        ("cost, quiet", "serverless", lambda of: of["break_even"]["idle_month"].update(serverless=5)),
        ("ceiling", "serverless", lambda of: of["limits"].update({"MaximumConcurrency": 30_000})),
        ("burst, unplanned", "serverless", lambda of: of["burst"]["monolith"].update(accepted=60)),
        ("burst, planned", "monolith", lambda of: of["burst"]["month"].update(serverless=900)),
        ("burst, planned", "serverless", lambda of: of["burst"]["for the peak"].update(accepted=60)),
        ("hot product", "serverless", lambda of: of["hot"]["with retries"].update(decided_all_at=30)),
        ("credit slow", "serverless", lambda of: of["slow"]["monolith"].update(answer_p50=2.0)),
        ("credit away", "serverless", lambda of: of["away"]["monolith"].update(accepted=20)),
        ("credit away", "monolith", lambda of: of["away"]["serverless"].update(accepted=20)),
        ("naive", "serverless", lambda of: of["alternatives"]["naive"]["hot"].update(decided_p99=7)),
        ("step functions", "serverless", lambda of: of["alternatives"]["step_functions"].update(express=90)),
    ],
)
def test_who_does_better_wins(scenario: str, winner: str, change: Callable[[dict[str, Any]], None]) -> None:
    before, after = judged(), judged(change)

    assert after[scenario] == winner
    assert {name for name in after if after[name] != before[name]} == {scenario}
