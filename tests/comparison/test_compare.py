"""A small comparison with the real functions: correct decisions, reproducible verdicts; and the command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import __main__ as command
from benchmarks.compare import plots, scenarios, serverless
from benchmarks.compare.load import Load, Outage, arrivals
from benchmarks.compare.monolith import Constants
from benchmarks.compare.scenarios import Loads, Report, Sizes
from benchmarks.compare.serverless import AS_BUILT, NAIVE, QUIET
from tests.comparison.test_money import FULL, SINGLE

TINY = Sizes(
    {10: 1, 100: 0.2, 1_000: 0.02, 5_000: 0.004}, 0.03, 0.006, 0.1, 0.01, 0.1, 1, computed=0.01, capacity=0.02
)


@pytest.fixture(scope="module")
def loads() -> Loads:
    return Loads.of(TINY, seed=1)


@pytest.fixture(scope="module")
def found(loads: Loads) -> Mapping[str, Any]:
    costs = [replace(FULL, scenario="a product each"), replace(SINGLE, scenario="one by one")]
    jobs = [job for job in scenarios.jobs(loads, 1) if job.name != "cost"]
    return {job.name: job.run(*job.arguments, **job.named) for job in jobs} | {"cost": costs}


@pytest.fixture(scope="module")
def report(found: Mapping[str, Any], loads: Loads) -> Report:
    return scenarios.report(found, loads, TINY, Constants(), 1)


def test_no_promise_about_right_answers_is_broken(report: Report) -> None:
    assert report.broken == []


def test_each_rate_says_what_was_played_and_what_was_computed(report: Report) -> None:
    played = {row["rate"]: row["serverless"]["played"] for row in report.figures["steady"]}

    assert [rate for rate, was in played.items() if was] == [10, 100, 1_000, 5_000]
    assert list(played)[-1] == 50_000
    for row in report.figures["steady"]:
        assert ("decided_p50" in row["serverless"]) == row["serverless"]["played"]
        assert row["monolith"]["accepted"] == row["monolith"]["requested"]


def test_an_outage_of_the_credit_service_costs_the_monolith_orders_and_serverless_time(
    report: Report,
) -> None:
    away = report.figures["away"]

    assert away["serverless"]["accepted"] == away["serverless"]["requested"]
    assert 0 < away["serverless"]["caught_up"] < 70  # the visibility timeout, and a moment
    assert away["monolith"]["refused"] > away["monolith"]["accepted"]
    assert away["with retries"]["accepted"] == away["with retries"]["requested"]


def test_the_same_figures_give_the_same_report(
    found: Mapping[str, Any], loads: Loads, report: Report
) -> None:
    again = scenarios.report(found, loads, TINY, Constants(), 1)

    assert again.as_json() == report.as_json()


def test_a_broken_promise_is_in_the_report(found: Mapping[str, Any], loads: Loads) -> None:
    hot = replace(found["hot"], broken=["I3: too many"])

    report = scenarios.report({**found, "hot": hot}, loads, TINY, Constants(), 1)

    assert report.broken == ["hot: I3: too many"]


def test_a_batch_of_one_is_an_invocation_each_and_no_product_is_split() -> None:
    rush = Load("rush", arrivals(200, 0.2, seed=1), 1)

    built, naive = (serverless.play(rush, design, seed=1, constants=QUIET) for design in (AS_BUILT, NAIVE))

    assert naive.batch == 1 < built.batch
    assert naive.broken == built.broken == []
    assert naive.conflicts > built.conflicts


def test_while_credit_is_slow_orders_are_taken_at_once_and_decided_later() -> None:
    slow = Load("slow", arrivals(10, 2, seed=1), 100, Outage(0, 10, 2, answers=True))

    outcome = serverless.play(slow, seed=1, constants=QUIET).outcome

    assert outcome.taken == 1
    assert outcome.answer_p99 is not None
    assert outcome.answer_p99 < 0.5
    assert outcome.decided_p50 is not None
    assert outcome.decided_p50 > 2


def test_its_tables_and_verdicts_fit_eighty_columns(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    command.print_report(report)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    for verdict in report.verdicts:
        assert any(line.startswith(f"{verdict.scenario}: {verdict.winner.upper()}.") for line in lines)


def test_its_plots_are_six_small_pictures_that_load_nothing(report: Report, tmp_path: Path) -> None:
    paths = plots.draw(report, tmp_path)

    assert len(paths) == 6
    for path in paths:
        assert path.stat().st_size < 60_000
        assert b"<script" not in path.read_bytes()


def test_the_command_prints_one_object_and_fails_for_a_broken_promise(
    report: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "compare", lambda sizes, constants, seed: report)
    assert command.main(["--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["verdicts"]) == {verdict.scenario for verdict in report.verdicts}

    bad = replace(report, broken=["hot: I3: too many"])
    monkeypatch.setattr(command, "compare", lambda sizes, constants, seed: bad)
    assert command.main(["--json"]) == 1
    assert "I3: too many" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--seed", "x"], "SEED"), (["--set", "speed=1"], "SET"), (["--rate", "1"], "--rate")],
)
def test_a_bad_argument_is_one_clear_line_and_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = command.main(arguments)
    except SystemExit as exit_:
        code = exit_.code  # type: ignore[assignment]

    printed = capsys.readouterr()
    assert code == 2
    assert named in printed.err
    assert printed.out == ""


def test_the_constants_are_listed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--constants"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("hot_row_lock" in line or "lock_ms" in line for line in lines)
