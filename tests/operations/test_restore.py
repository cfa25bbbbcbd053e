"""Tables restored to different times: what the audit reports, and how it is repaired.

Point-in-time recovery works per table, so a transaction over several tables may be restored in part. Here the
ledgers are restored to a few seconds before the orders, and repaired by the means for other faults:
the audit, the watchdog, another restore. test_reconcile.py has the command that repairs every combination.
"""

from __future__ import annotations

from typing import Any

import pytest

from order_capture_ops import audit as audits
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.support.shop import CONSUMERS, Shop, order_of
from tests.support.tables import dynamodb_client

LEDGERS = ("AccountTable", "StockTable")
WATCHED = 2.0  # seconds until the watchdog checks the orders of `make watch`

Items = dict[str, list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))


def backed_up(*tables: str) -> Items:
    client = dynamodb_client()
    return {table: client.scan(TableName=table)["Items"] for table in tables}


def restore(items: Items) -> None:
    """Replace the content of each table."""
    client = dynamodb_client()
    for table, those in items.items():
        schema = client.describe_table(TableName=table)["Table"]["KeySchema"]
        for item in client.scan(TableName=table)["Items"]:
            client.delete_item(
                TableName=table, Key={each["AttributeName"]: item[each["AttributeName"]] for each in schema}
            )
        for item in those:
            client.put_item(TableName=table, Item=item)


def as_a_new_stack(shop: Shop, tables: Items) -> None:
    """Restore some tables, keep the others, and drop the history and all messages."""
    for name in (*CONSUMERS, "order_watchdog"):
        shop.pipeline.held_up(name)
    restore(tables | {"HistoryTable": []})
    shop.pipeline.skip_streams()


def confirm(shop: Shop) -> None:
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)


def reject_and_check_half(shop: Shop) -> tuple[str, str, Items]:
    """Two orders, and the ledgers from before one was rejected and one check of the other was done."""
    refused = shop.order(order_of("alice", 20, pen=1000))
    shop.pipeline.deliver("balance_checker")
    ledgers = backed_up(*LEDGERS)
    shop.pipeline.run()
    half_checked = shop.order(order_of("alice", 4, ink=1))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.deliver("order_update")
    assert shop.statuses([refused, half_checked]) == ["REJECTED", "PENDING"]
    return refused, half_checked, ledgers


def differences(tables: Tables) -> set[tuple[str, str, str, str]]:
    """The audit's differences, except of the history, which is rebuilt once the ledgers are right."""
    found = audits.audit(tables, deadline=900, grace_period=0).differences
    of_books = [each for each in found if "history" not in each.what]
    return {(each.entity, each.what, each.expected, each.found) for each in of_books}


def test_open_and_refused_orders_are_repaired_by_the_watchdog(shop: Shop, tables: Tables, run: Run) -> None:
    # GIVEN orders that are seconds ahead of the ledgers: one is rejected, one has one check done
    refused, half_checked, ledgers = reject_and_check_half(shop)
    as_a_new_stack(shop, ledgers)
    # WHEN the ledgers are audited THEN the first is reported; no order has what one check holds of the second
    assert differences(tables) == {
        ("account alice", f"held for order {refused}, which is REJECTED", "released", "20.00"),
        (f"order {refused}", "check result of product pen", "DECLINED", "no entry"),
    }
    # WHEN the watchdog checks the rejected order, and all open ones
    assert run("watch", refused) == 0
    assert run("watch", "--scan") == 0
    shop.pipeline.wait(WATCHED)
    shop.pipeline.run()
    # THEN the books add up, and each order has its right status
    assert differences(tables) == set()
    assert shop.statuses([refused, half_checked]) == ["REJECTED", "SHIPPED"]
    shop.books_add_up()


def test_a_half_restored_settlement_needs_ledgers_of_another_second(
    shop: Shop, tables: Tables, run: Run
) -> None:
    # GIVEN an order that has shipped since the ledgers' time, and one that was confirmed
    shipped = shop.order(order_of("alice", 100, pen=1))
    confirm(shop)
    ledgers = backed_up(*LEDGERS)
    shop.pipeline.run()
    confirmed = shop.order(order_of("bob", 3, pen=2))
    confirm(shop)
    ledgers_of_the_orders = backed_up(*LEDGERS)
    as_a_new_stack(shop, ledgers)
    # WHEN the ledgers are audited THEN the first shows as held and not settled, the second by its id
    assert shop.statuses([shipped, confirmed]) == ["SHIPPED", "CONFIRMED"]
    assert differences(tables) == {
        ("account alice", "held (by orders that have not shipped)", "0", "100.00"),
        ("account alice", "settled (by orders that have shipped)", "100.00", "0"),
        ("product pen", "held (by orders that have not shipped)", "0", "1"),
        ("product pen", "settled (by orders that have shipped)", "1", "0"),
        (f"order {confirmed}", "check result of account bob", "HELD", "no entry"),
        (f"order {confirmed}", "check result of product pen", "HELD", "no entry"),
    }
    # WHEN the ledgers are restored to another second, before anything else
    as_a_new_stack(shop, ledgers_of_the_orders)
    # THEN the books add up, and open orders continue
    assert differences(tables) == set()
    assert run("watch", "--scan") == 0
    shop.pipeline.wait(WATCHED)
    shop.pipeline.run()
    assert shop.statuses([shipped, confirmed]) == ["SHIPPED", "SHIPPED"]
    shop.books_add_up()


def test_orders_older_than_the_ledgers_are_reported(shop: Shop, tables: Tables) -> None:
    # GIVEN ledgers that are seconds ahead: they have holds of an order that is missing
    shop.order(order_of("alice", 1, ink=1))
    shop.pipeline.run()
    orders = backed_up("OrderTable")
    unknown = shop.order(order_of("alice", 7, pen=3))
    confirm(shop)
    # WHEN the orders are restored to the earlier time
    as_a_new_stack(shop, orders)
    # THEN its holds are reported
    assert {
        ("account alice", f"held for order {unknown}, which does not exist", "nothing", "7.00"),
        ("product pen", f"held for order {unknown}, which does not exist", "nothing", "3"),
    } <= differences(tables)
