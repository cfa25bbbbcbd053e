"""Commands name unreadable items, and continue with the others."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from order_capture_ops.stack import Stack
from tests.operations.conftest import Run
from tests.support.shop import Shop, order_of

BAD: list[dict[str, Any]] = [
    {"timeline": {"L": [{"N": "1"}]}},
    {"timeline": {"L": [{"M": {"text": {"S": "order received"}}}]}},
    {"timeline": {"S": "order received"}},
    {"totalAmount": {"N": "1E+125"}},
    {"items": {"S": "pen"}},
    {"checks": {"M": {"BALANCE": {"S": "HELD"}}}},
    {"createTime": {"S": "2026-11-20T10:00:00"}},
]


@pytest.fixture
def poisoned(shop: Shop, stack: Stack) -> Shop:
    """A shop with a shipped order, an open one, and malformed items in every table."""
    shipped = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    shop.order(order_of("alice", 7, pen=1))
    dynamodb = stack.client("dynamodb")

    def put(table: str, item: dict[str, Any]) -> None:
        dynamodb.put_item(TableName=table, Item=item)

    good = shop.pipeline.item("OrderTable", orderId=shipped)
    for number, attributes in enumerate(BAD):
        put("OrderTable", copy.deepcopy(good) | {"orderId": {"S": f"bad-{number}"}} | attributes)
    put("StockTable", {"productId": {"S": "bad"}, "entry": {"S": "BALANCE"}, "balance": {"S": "much"}})
    held = {"M": {"alice": {"BOOL": True}}}
    put("AccountTable", {"customerId": {"S": "ORDER#bad"}, "entry": {"S": "HOLD#bad"}, "amounts": held})
    line = {"entity": {"S": "customerId#bob"}, "line": {"S": "2026-11-20T10:00:00.000Z#ADJUST#1"}}
    put("HistoryTable", line | {"version": {"S": "x"}})
    put("ReportTable", {"page": {"S": "1#2026-11-20"}, "row": {"S": "DAY"}, "nonsense": {"N": "1"}})
    put("ReportTable", {"page": {"S": "1#order#bad"}, "row": {"S": "x"}, "sequence": {"N": "1E+100"}})
    return shop


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["audit", "--grace-period", "0"], ["bad-0", "HOLD#bad", "product bad", "account bob"]),
        (["republish"], ["product bad"]),
        (["republish-events", "--since", "2020-01-01"], ["bad-0", "bad-6"]),
        (["watch", "--scan"], ["bad-0"]),
        (["check-reports", "--grace-period", "0"], ["bad-0", "2026-11-20 DAY", "order bad"]),
        (["rebuild-reports"], ["bad-0"]),
        (["rebuild-history"], ["account alice", "account bob"]),
    ],
    ids=lambda value: value[0] if value and isinstance(value, list) else None,
)
def test_a_command_names_unreadable_items_and_continues(
    poisoned: Shop, run: Run, capsys: pytest.CaptureFixture[str], command: list[str], named: list[str]
) -> None:
    assert run(*command) == 1

    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert printed.err == ""
    missing = [name for name in named if name not in printed.out]
    assert not missing, printed.out


def test_readable_orders_are_published(poisoned: Shop, run: Run) -> None:
    take = poisoned.pipeline.listen("OrderEventTopic")

    assert run("republish-events", "--since", "2020-01-01") == 1

    assert len(take()) == 4


def test_an_unreadable_order_can_not_be_checked_and_no_other_is(
    poisoned: Shop, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("watch", "bad-0") == 2

    assert "Unknown or unreadable: order bad-0." in capsys.readouterr().err
