"""Closing the books: the command's writes have the same effect on moto and on AWS's own engine."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from order_capture.adapters.dynamodb.types import to_item
from order_capture.domain.ledger import STOCK, Adjustment, Balance
from order_capture_ops.close_books import _mark, close_adjustments, closing_update, write
from order_capture_ops.errors import CommandError
from order_capture_ops.tables import LedgerTable, read_closing
from tests.support.factories import EARLIER, NOW


@pytest.fixture(params=["moto", "dynamodb_local"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    """Operators' commands do not run on AWS in memory."""
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture
def table(dynamodb: Any, tables: dict[str, str]) -> LedgerTable:
    return LedgerTable(dynamodb, tables["StockTable"], STOCK, "productId", "product")


def closing(table: LedgerTable) -> tuple[Decimal, Decimal]:
    found = read_closing(table.closings(["pen"])["pen"])
    return found.adjusted, found.settled


def test_sums_begin_at_nothing_and_are_added_to(table: LedgerTable) -> None:
    assert write(table.client, [closing_update(table, "pen", settled=Decimal("2.5"))])
    assert write(table.client, [closing_update(table, "pen", settled=Decimal(1), adjusted=Decimal(-3))])

    assert closing(table) == (Decimal(-3), Decimal("3.5"))


def test_adjustments_are_deleted_with_their_sum_once(table: LedgerTable) -> None:
    adjustments = [
        Adjustment("pen", f"{number}", Decimal(number), "", Balance(Decimal(1)), NOW) for number in (1, 2, 4)
    ]
    for each in adjustments[1:]:
        item = to_item({"productId": "pen", "entry": each.key, "amount": each.amount})
        table.client.put_item(TableName=table.name, Item=item)

    assert close_adjustments(table, "pen", adjustments) == 2  # the first was deleted by another run
    assert close_adjustments(table, "pen", adjustments) == 0

    assert closing(table) == (Decimal(6), Decimal(0))
    assert table.get({"productId": "pen", "entry": "ADJUST#2"}) is None


def test_the_mark_only_moves_forwards(table: LedgerTable) -> None:
    assert table.closed_until() == ""
    _mark(table, EARLIER)
    _mark(table, NOW)
    _mark(table, NOW)

    with pytest.raises(CommandError, match=f"already closed until {NOW}"):
        _mark(table, EARLIER)
    assert table.closed_until() == NOW
