"""The live half of the comparison: its conclusions from both designs' reports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from benchmarks.compare import live
from benchmarks.compare.live import CASES, Case, Comparison, compare, print_table
from benchmarks.load import generator
from benchmarks.load.audit import Fault, Kind
from benchmarks.load.generator import GeneratorError
from benchmarks.load.orders import ClockOffset
from benchmarks.load.report import Latency, Report
from benchmarks.traditional import server
from order_capture_ops.errors import CommandError

SPEED = Case("spread", ("spread",))
LAST_UNITS = Case("the last units", ("hot",), oversells=True)


def report(orders_per_second: float, answer: float, decided: float, **more: Any) -> Report:
    given: dict[str, Any] = {
        "target": "it",
        "seconds": 8.0,
        "requests": 100,
        "reads": 0,
        "accepted": 100,
        "refused": {},
        "failed_reads": 0,
        "statuses": {"SHIPPED": 90, "REJECTED": 10},
        "reasons": {},
        "orders_per_second": orders_per_second,
        "answer": Latency(answer, 2 * answer, 3 * answer),
        "decided": Latency(decided, 2 * decided, 3 * decided),
        "mixes": {},
        "replays": 0,
        "asked_again": 0,
        "unknown": 0,
        "offset": ClockOffset(),
        "faults": [],
    }
    return Report(**given | more)


def three_rounds(**faulty: Any) -> Comparison:
    return compare(
        SPEED,
        [report(400, 20, 20), report(100, 80, 80), report(410, 21, 21)],
        [report(10, 10, 2000), report(5, 40, 2400), report(9, 22, 2000, **faulty)],
    )


def test_figures_are_medians_and_ratios_are_of_the_rounds_pairs() -> None:
    found = three_rounds()

    assert found.traditional.figures["orders_per_second"] == 400
    assert found.local_stack.figures["orders_per_second"] == 9
    assert found.ratios["orders_per_second"] == pytest.approx((10 / 400, 9 / 410, 5 / 100))
    assert found.traditional.statuses == {"SHIPPED": 270, "REJECTED": 30}
    assert found.traditional.accepted == 300


def test_one_is_better_only_if_it_was_in_each_round() -> None:
    better = three_rounds().better

    assert better["orders_per_second"] == "traditional"
    assert better["decided_p50"] == "traditional"
    assert better["answer_p50"] == "even"  # half as long in two rounds, longer in one


def test_a_shorter_answer_in_each_round_is_better() -> None:
    found = compare(SPEED, [report(10, 20, 20)] * 2, [report(10, 10, 20), report(10, 15, 20)])

    assert found.better["answer_p50"] == "local stack"
    assert found.better["orders_per_second"] == "even"


def test_a_fault_in_any_round_shows() -> None:
    found = three_rounds(faults=[Fault(Kind.OVERSOLD, "product pen", "…", 3)])

    assert not found.is_right
    assert found.local_stack.faults["oversold"] == 3
    assert found.traditional.faults["oversold"] == 0


def test_where_most_is_refused_the_speed_is_not_compared() -> None:
    found = compare(LAST_UNITS, [report(400, 20, 20)], [report(10, 10, 2000)])

    assert found.ratios == {}


def test_a_round_without_an_order_is_left_out_of_the_ratios() -> None:
    none = Latency(None, None, None)
    nothing = replace(report(0.0, 0, 0), answer=none, decided=none)

    found = compare(SPEED, [report(400, 20, 20), nothing], [report(10, 10, 2000), nothing])

    assert found.ratios["decided_p50"] == (100, 100, 100)


def test_it_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(three_rounds().json()))["better"]["decided_p50"] == "traditional"


def test_the_table_is_whole_at_80_columns_and_says_what_it_cannot_show() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    wrong = three_rounds(faults=[Fault(Kind.LOST, "order 1", "…")], refused={503: 7})

    print_table(
        [wrong, *(compare(case, [report(400, 20, 20)], [report(0.5, 99, 999_999)]) for case in CASES)],
        console,
    )

    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for shown in ("0.025 (0.022–0.05)", "1 lost", "7 orders got an error", "say nothing about AWS"):
        assert shown in " ".join(text.split())
    assert "Neither oversold" not in text


def test_without_postgresql_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise CommandError("PostgreSQL is not installed")

    monkeypatch.setattr(server, "installed", missing)

    with pytest.raises(CommandError, match="PostgreSQL is not installed"):
        live.measure()


def test_without_locust_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "installed", lambda: None)
    monkeypatch.setattr(generator, "PYTHON", generator.PYTHON.with_name("none"))

    with pytest.raises(GeneratorError, match="make load"):
        live.available()
