"""At 80 columns, no output is truncated, even with the longest ids."""

from __future__ import annotations

import io
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from local import demo
from order_capture.adapters.operations import dead_letters
from order_capture.adapters.operations.dead_letters import DeadLetterQueue
from order_capture.application.channels import channel
from order_capture.application.operations.list_open_orders import OpenOrder
from order_capture.application.operations.ports import DeadLetter
from order_capture.domain.order import DeclineCode
from order_capture_ops import __main__ as ops
from order_capture_ops import cli
from order_capture_ops.audit import AuditReport, Difference
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.support.factories import details_of, placed

CUSTOMER, PRODUCT, ORDER, MESSAGE = "c" * 64, "p" * 64, "o" * 64, "m" * 36
LARGEST = Decimal("999999999.99")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.console, "_width", 80)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, narrow: None) -> Run:
    """Run a command on a stack whose tables are not read."""
    stack = Stack("order-capture-production", {}, {}, lambda _: None)
    sizes: Any = SimpleNamespace(size=lambda: 1, noun="account")
    tables = SimpleNamespace(orders=sizes, ledgers=(sizes, sizes))
    monkeypatch.setattr("order_capture_ops.stack.find", lambda _: stack)
    monkeypatch.setattr(Tables, "of", lambda _: tables)
    return lambda *arguments: ops.main(list(arguments))


def assert_fits(shown: str, *texts: str) -> None:
    """Assert that no line is too long or truncated, and that each text is unbroken."""
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    for text in texts:
        assert text in shown, text


def test_audit_differences(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    different = Difference(f"account {CUSTOMER}", "sum of the adjustments", str(LARGEST), f"order {ORDER}")
    report = AuditReport(accounts=10**9, products=10**9, entries=10**9, differences=[different])
    monkeypatch.setattr(ops, "audit", lambda *_: report)

    assert run("audit") == 1

    assert_fits(capsys.readouterr().out, CUSTOMER, ORDER, str(LARGEST), "1,000,000,000")


def test_dead_letters_of_a_dry_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = DeadLetter(MESSAGE, "order.confirmed", ORDER, 1e6, 1000, "{}")
    dlq = DeadLetterQueue(channel("webhook_dispatcher"), "url", ("url",))
    monkeypatch.setattr(ops, "dead_letter_queue", lambda *_: dlq)
    monkeypatch.setattr(dead_letters, "count", lambda *_: 1)
    monkeypatch.setattr(dead_letters, "peek", lambda *_: [dead])

    assert run("redrive", "webhook_dispatcher", "--dry-run") == 0

    assert_fits(
        capsys.readouterr().out, MESSAGE, ORDER, "order.confirmed", "11d 13h old, received 1000 times"
    )


def test_open_orders(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waits = ("balance check: done (DECLINED), its result is not recorded yet", "stock check: not done yet")
    placed_order = placed(details_of(ORDER))
    order = OpenOrder(placed_order, 1e6, waits, ["webhook_dispatcher"])
    monkeypatch.setattr(ops, "open_orders", lambda *_: [order])

    assert run("stuck") == 0

    assert_fits(capsys.readouterr().out, ORDER, "PENDING", "stock check: not done yet", "webhook_dispatcher")


@pytest.mark.parametrize("code", DeclineCode)
def test_orders_of_the_demo(code: DeclineCode) -> None:
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

    assert_fits(
        rendered(demo._table([order])), CUSTOMER, PRODUCT, f"{code}:", f"available {LARGEST}", "REJECTED"
    )


def test_balances_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(demo, "console", Console(file=out, width=80))
    row = {"balance": LARGEST, "held": Decimal("99.99"), "settled": Decimal("50.00")}
    before = {f"account/{CUSTOMER}": {name: Decimal(0) for name in row}}

    demo._print_balances("Balances after", {f"account/{CUSTOMER}": row}, before)

    assert_fits(out.getvalue(), str(LARGEST), f"(+{LARGEST})", "99.99", "50.00")
    assert out.getvalue().count("c") >= 64, "a long id is folded into the next line"


def rendered(what: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(what)
    return out.getvalue()
