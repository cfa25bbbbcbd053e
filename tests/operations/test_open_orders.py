"""Open orders are listed, oldest first, with what each waits for."""

from __future__ import annotations

import json

import pytest

from order_capture_ops import dead_letters
from order_capture_ops.open_orders import OpenOrder, open_orders
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.operations.test_redrive import fail_for_good, put
from tests.support.shop import Shop, order_of


def found(stack: Stack, tables: Tables) -> list[OpenOrder]:
    return open_orders(tables, stack.client("sqs"), dead_letters.queues(stack))


def test_an_order_shows_the_checks_that_it_waits_for(shop: Shop, stack: Stack, tables: Tables) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    (before,) = found(stack, tables)
    shop.pipeline.deliver("order_update")
    (after,) = found(stack, tables)

    assert (before.order_id, before.status, before.dead_letters) == (order_id, "PENDING", ())
    assert before.waits_for == ("stock check: not done yet",)
    assert after.waits_for == before.waits_for, "what one check holds is recorded with the other's result"
    assert 0 <= after.age < 60


def test_an_order_shows_results_that_are_not_recorded_yet(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.deliver("stock_checker")

    (order,) = found(stack, tables)

    assert order.waits_for == (
        "balance check: done (HELD), its result is not recorded yet",
        "stock check: done (HELD), its result is not recorded yet",
    )


def test_an_order_shows_the_queue_of_its_dead_letter(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    fail_for_good(shop, "stock_checker", "dynamodb.TransactWriteItems")
    shop.pipeline.deliver("order_update")

    (order,) = found(stack, tables)

    assert order.waits_for == ("stock check: not done yet",)
    assert order.dead_letters == ("StockCheckerDlq (order.check)",)
    assert len(found(stack, tables)[0].dead_letters) == 1, "the message stays in its queue"


def test_open_orders_are_listed_oldest_first(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("alice", 10, pen=1000))
    shop.pipeline.run()
    confirmed = shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
    pending = shop.order(order_of("bob", 1, pen=1))

    orders = found(stack, tables)

    assert [order.order_id for order in orders] == [confirmed, pending]
    assert orders[0].waits_for == ("shipping",)


def test_dead_letters_are_counted_even_without_open_orders(
    stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(stack.client("sqs"), stack.outputs["OrderUpdateDlqUrl"], "nonsense")

    assert run("stuck") == 0

    assert capsys.readouterr().out == "No open orders. 1 dead letter: make status shows why.\n"


def test_by_command(shop: Shop, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stuck") == 0
    assert "No open orders" in capsys.readouterr().out
    order_id = shop.order(order_of("alice", 10, pen=1))

    assert run("stuck") == 0
    assert order_id in capsys.readouterr().out
    assert run("stuck", "--json") == 0
    (order,) = json.loads(capsys.readouterr().out)["open"]

    assert (order["order_id"], order["status"]) == (order_id, "PENDING")
    assert len(order["waits_for"]) == 2
