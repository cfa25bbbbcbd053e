"""A small sale with the real functions: correct decisions, reproducible by the seed; and the command."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.flash_sale import __main__ as command
from benchmarks.flash_sale import plots
from benchmarks.flash_sale.constants import KNOWN, Constants, constants_from
from benchmarks.flash_sale.model import ON_THE_WAY, WATCHED, Sale, surrounded
from benchmarks.flash_sale.scenarios import HOT, SCENARIOS, Outcome, Scenario, Target, hot_rush, play
from benchmarks.flash_sale.wiring import wiring
from order_capture_ops.errors import UsageError

FIGURES = {
    *("scenario", "seed", "orders", "decided_p50", "decided_p99", "decided_all", "shipped_all", "shipped"),
    *("rejected", "expired", "dead_letters", "conflicts", "returned", "write_units", "functions"),
}


def played(scenario: Scenario, seed: int = 1, **more: int) -> tuple[Outcome, Sale]:
    sale = Sale(seed, Constants(), **more)  # type: ignore[arg-type]
    with surrounded(sale):
        return play(scenario, seed, sale), sale


def small(units: int = 100) -> Scenario:
    return hot_rush("small", "40 in a second on one product", 40, 1, [], units, min(units, 40))


def test_all_are_shipped_and_the_books_are_in_order() -> None:
    outcome, sale = played(small())

    assert outcome.broken == []
    assert outcome.figures.keys() == FIGURES
    assert outcome.figures["orders"] == outcome.figures["shipped"] == 40
    assert sale.books.orders.keys() == sale.progress.courses.keys()


def test_of_too_few_units_exactly_those_are_shipped_and_the_others_are_refused() -> None:
    outcome, _ = played(small(units=15))

    assert outcome.broken == []
    assert (outcome.figures["shipped"], outcome.figures["rejected"]) == (15, 25)


def test_the_same_seed_gives_the_same_sale_and_another_one_another() -> None:
    first, again, other = (played(small(), seed)[0].figures for seed in (1, 1, 2))

    assert first == again
    assert first["decided_p50"] != other["decided_p50"]


def test_what_is_sold_without_being_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def place(sale: Sale, chance: random.Random) -> None:
        small().place(sale, chance)
        store = sale.dynamodb._store
        head = store.items("StockTable")[HOT, "BALANCE"]
        more = {**head, "balance": {"N": "1000"}}
        sale.time.call(lambda: store.put_item(TableName="StockTable", Item=more), 0.01)

    outcome, _ = played(Scenario("bad", "", 40, {HOT: 5}, place, [], small().customers))

    assert any("I3" in reason for reason in outcome.broken)


def test_an_order_that_is_lost_is_found() -> None:
    scenario = small()
    outcome, _ = played(Scenario("lost", "", 41, scenario.units, scenario.place, [], scenario.customers))

    assert outcome.broken == ["I5: 41 orders were placed, 40 are there"]


@pytest.mark.parametrize(("environment", "concurrency"), [("prod", 50), ("dev", 10)])
def test_batches_and_limits_are_the_template_s(environment: str, concurrency: int) -> None:
    plan = wiring(environment)

    for name in ON_THE_WAY:
        for source in plan.functions[name].queues:
            expected = (100, 12) if name == "ship_order" else (10, concurrency)
            assert (source.batch_size, source.concurrency) == expected
    assert json.loads(plan.queues[WATCHED]["RedrivePolicy"])["maxReceiveCount"] == 60
    assert [source.lanes for source in plan.functions["change_publisher"].streams] == [5]


def test_every_constant_says_what_it_is_and_where_from_and_can_be_set() -> None:
    for name, each in KNOWN.items():
        assert each.metadata["about"], name
        assert each.metadata["source"], name
        assert each.metadata["least"] <= each.default <= each.metadata["most"], name
        assert getattr(constants_from(f"{name}={each.metadata['most']}"), name) == each.metadata["most"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [("speed=1", "speed"), ("sigma=3", "sigma"), ("sigma=x", "sigma"), ("sigma", "sigma")],
)
def test_a_constant_that_is_none_is_refused_by_its_name(settings: str, named: str) -> None:
    with pytest.raises(UsageError, match=rf"SET: .*{named}"):
        constants_from(settings)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scenario", "F9"], "SCENARIO"),
        (["--seed", "x"], "SEED"),
        (["--concurrency", "0"], "CONCURRENCY"),
        (["--stripes", "perhaps"], "STRIPES"),
        (["--set", "speed=1"], "SET"),
        (["--json"], "SCENARIO"),
    ],
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


def test_the_command_prints_one_object_or_a_table_and_fails_for_what_is_slow_only_with_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = hot_rush("F2", "20 at once", 20, 0.1, [Target("decided_all", 0.001, "all decided")])
    monkeypatch.setitem(SCENARIOS, "F2", lambda: slow)

    assert command.main(["--scenario", "F2", "--json"]) == 0
    found: Mapping[str, object] = json.loads(capsys.readouterr().out)
    assert found["shipped"] == 20

    assert command.main(["--scenario", "F2", "--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("all decided" in line and "✗" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_head_is_split_only_where_there_are_to_be_stripes() -> None:
    rush = hot_rush("F2", "60 at once", 60, 0.1, [])

    def stripes(settings: dict[str, str]) -> set[str]:
        sale = Sale(1, Constants(), settings=settings)
        with surrounded(sale):
            play(rush, 1, sale)
        assert sale.books.broken == []
        return {key for key, entry in sale._store.items("StockTable") if entry == "BALANCE" and "#" in key}

    assert stripes({"LEDGER_STRIPES": "4"}) == {f"{HOT}#{number}" for number in range(1, 5)}
    assert stripes({"LEDGER_STRIPES": "0"}) == set()


def test_its_plots_are_small_pictures_that_load_nothing(tmp_path: Path) -> None:
    _, sale = played(small())

    paths = plots.draw("F0", "40 in a second", sale.progress.samples * 100, tmp_path)

    assert [path.name for path in paths] == ["f0-orders.svg", "f0-waiting.svg", "f0-conflicts.svg"]
    for path in paths:
        assert path.stat().st_size < 60_000
        assert b"<script" not in path.read_bytes()


def test_the_scenarios_are_seven() -> None:
    assert list(SCENARIOS) == ["F1", "F2", "F3", "F4", "F5", "F6", "F7"]
