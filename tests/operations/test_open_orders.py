"""Orders that have been open too long are listed, oldest first, with what each waits for."""

from __future__ import annotations

import json

import pytest

from order_capture.application.operations.list_open_orders import OpenOrder
from order_capture_ops.open_orders import open_orders
from order_capture_ops.stack import Stack
from tests.operations.conftest import Run
from tests.operations.test_redrive import fail_for_good, put
from tests.support.shop import Shop, order_of


def found(stack: Stack) -> list[OpenOrder]:
    return [*open_orders(stack)]


def check_orders(shop: Shop) -> None:
    """The watchdog checks each new order, and its messages go no further."""
    shop.pipeline.publish_changes()
    shop.pipeline.wait(60)
    shop.pipeline.deliver("order_watchdog")


def test_an_order_on_its_way_is_not_listed(shop: Shop, stack: Stack) -> None:
    shop.order(order_of("alice", 10, pen=1))

    assert found(stack) == []


def test_an_order_shows_the_checks_that_it_waits_for(shop: Shop, stack: Stack) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    check_orders(shop)

    (order,) = found(stack)

    assert (order.order.order_id, order.order.status, order.dead_letters) == (order_id, "PENDING", [])
    assert order.waits_for == ["stock check: not done yet"]
    assert order.age >= 0


def test_an_order_shows_results_that_are_not_recorded_yet(shop: Shop, stack: Stack) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.deliver("stock_checker")
    check_orders(shop)

    (order,) = found(stack)

    assert order.waits_for == [
        "balance check: done (HELD), its result is not recorded yet",
        "stock check: done (HELD), its result is not recorded yet",
    ]


def test_an_order_shows_the_queue_of_its_dead_letter(shop: Shop, stack: Stack) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.deliver("balance_checker")
    fail_for_good(shop, "stock_checker", "dynamodb.TransactWriteItems")
    check_orders(shop)

    (order,) = found(stack)

    assert order.waits_for == ["stock check: not done yet"]
    assert order.dead_letters == ["stock_checker"]
    assert found(stack)[0].dead_letters == ["stock_checker"], "the message stays in its queue"


def test_open_orders_are_listed_oldest_first_until_they_end(shop: Shop, stack: Stack) -> None:
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("alice", 10, pen=1000))
    shop.pipeline.run()
    confirmed = shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
    pending = shop.order(order_of("bob", 1, pen=1))
    check_orders(shop)

    orders = found(stack)

    assert [each.order.order_id for each in orders] == [confirmed, pending]
    assert orders[0].waits_for == ["shipping"]
    shop.pipeline.run()
    assert {shop.status(each) for each in (confirmed, pending)} == {"SHIPPED"}
    assert found(stack) == []


@pytest.mark.parametrize("ending", ["cancelled", "rejected"])
def test_an_order_that_is_refused_is_listed_no_more(shop: Shop, stack: Stack, ending: str) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1 if ending == "cancelled" else 1000))
    check_orders(shop)
    assert [each.order.order_id for each in found(stack)] == [order_id]

    if ending == "cancelled":
        assert shop.cancel(order_id).status == 200
    shop.pipeline.run()

    assert shop.status(order_id) == ending.upper()
    assert found(stack) == []


def test_dead_letters_are_counted_even_without_open_orders(
    stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(stack.client("sqs"), stack.outputs["OrderUpdateDlqUrl"], "nonsense")

    assert run("stuck") == 0

    out = capsys.readouterr().out
    assert out == "No order has been open too long. 1 dead letter: make status shows why.\n"


def test_by_command(shop: Shop, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stuck") == 0
    assert "No order has been open too long" in capsys.readouterr().out
    order_id = shop.order(order_of("alice", 10, pen=1))
    check_orders(shop)

    assert run("stuck") == 0
    assert order_id in capsys.readouterr().out
    assert run("stuck", "--json") == 0
    (order,) = json.loads(capsys.readouterr().out)["open"]

    assert (order["order_id"], order["status"]) == (order_id, "PENDING")
    assert len(order["waits_for"]) == 2
