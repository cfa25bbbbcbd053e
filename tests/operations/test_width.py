"""At 80 columns, with the longest ids that there may be, no output is cut."""

from __future__ import annotations

import io
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from local import demo
from order_capture.domain.order import DeclineCode
from order_capture_ops import __main__ as ops
from order_capture_ops import cli, dead_letters
from order_capture_ops.audit import Difference, Report
from order_capture_ops.dead_letters import DeadLetterQueue, Letter
from order_capture_ops.stack import Stack
from order_capture_ops.stuck import OpenOrder
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run

CUSTOMER, PRODUCT, ORDER, MESSAGE = "c" * 64, "p" * 64, "o" * 64, "m" * 36
LARGEST = Decimal("999999999.99")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.console, "_width", 80)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, narrow: None) -> Run:
    """Runs a command on a stack of which nothing is read."""
    stack = Stack("order-capture-production", {}, {}, lambda _: None)
    sizes: Any = SimpleNamespace(size=lambda: 1, noun="account")
    tables = SimpleNamespace(orders=sizes, ledgers=(sizes, sizes))
    monkeypatch.setattr("order_capture_ops.stack.find", lambda _: stack)
    monkeypatch.setattr(Tables, "of", lambda _: tables)
    return lambda *arguments: ops.main(list(arguments))


def whole(shown: str, *texts: str) -> None:
    """Nothing is cut, and each text is there in one piece."""
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    for text in texts:
        assert text in shown, text


def test_differences_of_the_books(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    different = Difference(f"account {CUSTOMER}", "sum of the adjustments", str(LARGEST), f"order {ORDER}")
    report = Report(accounts=10**9, products=10**9, entries=10**9, differences=[different])
    monkeypatch.setattr(ops, "audit", lambda *_: report)

    assert run("audit") == 1

    whole(capsys.readouterr().out, CUSTOMER, ORDER, str(LARGEST), "1,000,000,000")


def test_dead_letters_of_a_dry_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = Letter("WebhookDispatcherDlq", MESSAGE, "order.confirmed", ORDER, 1e6, 1000, "{}")
    monkeypatch.setattr(dead_letters, "queue", lambda *_: DeadLetterQueue(letter.queue, "url", ("url",)))
    monkeypatch.setattr(dead_letters, "count", lambda *_: 1)
    monkeypatch.setattr(dead_letters, "peek", lambda *_: [letter])

    assert run("redrive", "webhook_dispatcher", "--dry-run") == 0

    whole(capsys.readouterr().out, MESSAGE, ORDER, "order.confirmed", "11d 13h old, received 1000 times")


def test_open_orders(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waits = ("balance check: decided (DECLINED), its answer is not taken in yet", "stock check: not made yet")
    order = OpenOrder(ORDER, "CONFIRMED", 1e6, waits, ("WebhookDispatcherDlq (order.confirmed)",))
    monkeypatch.setattr(dead_letters, "queues", lambda _: [])
    monkeypatch.setattr(ops, "stuck", lambda *_: [order])

    assert run("stuck") == 0

    whole(capsys.readouterr().out, ORDER, "CONFIRMED", "stock check: not made yet", "WebhookDispatcherDlq")


@pytest.mark.parametrize("code", DeclineCode)
def test_the_demos_orders(code: DeclineCode) -> None:
    order = demo.DemoOrder(CUSTOMER, PRODUCT, 100_000, LARGEST)
    order.statuses = ["PENDING", "REJECTED"]
    refusal = {
        "outcome": "DECLINED",
        "code": str(code),
        "id": PRODUCT,
        "asked": LARGEST,
        "available": LARGEST,
    }
    order.checks = {"stock": refusal}

    whole(rendered(demo._table([order])), CUSTOMER, PRODUCT, f"{code}:", f"available {LARGEST}", "REJECTED")


def test_the_demos_books(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(demo, "console", Console(file=out, width=80))
    row = {"balance": LARGEST, "held": Decimal("99.99"), "settled": Decimal("50.00")}
    before = {f"account/{CUSTOMER}": {name: Decimal(0) for name in row}}

    demo._print_books("The books after", {f"account/{CUSTOMER}": row}, before)

    whole(out.getvalue(), str(LARGEST), f"(+{LARGEST})", "99.99", "50.00")
    assert out.getvalue().count("c") >= 64, "an id that has no room goes on in the next line"


def rendered(what: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(what)
    return out.getvalue()
