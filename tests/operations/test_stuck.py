"""What is open is listed, oldest first, with what it waits for."""

from __future__ import annotations

import json

import pytest

from order_capture_ops import dead_letters
from order_capture_ops.stack import Stack
from order_capture_ops.stuck import OpenOrder, stuck
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.operations.test_redrive import fail_for_good, put
from tests.support.shop import Shop, order_of


def seen(stack: Stack, tables: Tables) -> list[OpenOrder]:
    return stuck(tables, stack.client("sqs"), dead_letters.queues(stack))


def test_an_order_says_which_checks_it_waits_for(shop: Shop, stack: Stack, tables: Tables) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    (before,) = seen(stack, tables)
    shop.pipeline.deliver("order_update")
    (after,) = seen(stack, tables)

    assert (before.order_id, before.status, before.dead_letters) == (order_id, "PENDING", ())
    assert before.waits_for == (
        "balance check: decided (HELD), its answer is not taken in yet",
        "stock check: not made yet",
    )
    assert after.waits_for == ("stock check: not made yet",)
    assert 0 <= after.age < 60


def test_it_says_where_its_message_has_ended(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    fail_for_good(shop, "stock_checker", "dynamodb.TransactWriteItems")
    shop.pipeline.deliver("order_update")

    (order,) = seen(stack, tables)

    assert order.waits_for == ("stock check: not made yet",)
    assert order.dead_letters == ("StockCheckerDlq (order.check)",)
    assert len(seen(stack, tables)[0].dead_letters) == 1, "looking takes nothing out"


def test_the_oldest_is_first_and_what_is_over_is_not_there(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("alice", 10, pen=1000))
    shop.pipeline.run()
    confirmed = shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
    pending = shop.order(order_of("bob", 1, pen=1))

    orders = seen(stack, tables)

    assert [order.order_id for order in orders] == [confirmed, pending]
    assert orders[0].waits_for == ("shipping",)


def test_where_nothing_is_open_dead_letters_are_named_all_the_same(
    stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(stack.client("sqs"), stack.outputs["OrderUpdateDlqUrl"], "nonsense")

    assert run("stuck") == 0

    assert capsys.readouterr().out == "Nothing is open. 1 dead letter: make status says why.\n"


def test_by_command(shop: Shop, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stuck") == 0
    assert "Nothing is open" in capsys.readouterr().out
    order_id = shop.order(order_of("alice", 10, pen=1))

    assert run("stuck") == 0
    assert order_id in capsys.readouterr().out
    assert run("stuck", "--json") == 0
    (order,) = json.loads(capsys.readouterr().out)["open"]

    assert (order["order_id"], order["status"]) == (order_id, "PENDING")
    assert len(order["waits_for"]) == 2
