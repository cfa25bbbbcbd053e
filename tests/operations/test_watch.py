"""Orders that nobody watches any more are put under the watchdog's eyes again."""

from __future__ import annotations

import json

import pytest

from order_capture_ops.stack import Stack, StackError
from order_capture_ops.watch import watch
from tests.operations.conftest import Run
from tests.support.shop import Shop, order_of


def unwatched(shop: Shop) -> str:
    """An order whose publish was lost, and its watch with it."""
    with shop.pipeline.refusing("sns.PublishBatch"):
        assert shop.post(order_of("alice", 10, pen=1), key="key-1").status == 503
    (order_id,) = shop.pipeline.order_ids()
    return order_id


def test_an_open_order_is_driven_on(shop: Shop, stack: Stack) -> None:
    order_id = unwatched(shop)
    shop.pipeline.run()
    assert shop.status(order_id) == "PENDING"

    watched = watch(stack, [])
    shop.pipeline.wait(2)
    shop.pipeline.run()

    assert [order.order_id for order in watched] == [order_id]
    assert shop.status(order_id) == "SHIPPED"


def test_an_order_that_is_over_is_looked_at_if_it_is_named(shop: Shop, stack: Stack) -> None:
    """So is one that was refused and whose release was lost: nothing else would give back what it holds."""
    order_id = shop.order(order_of("alice", 10, pen=1000))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.deliver("stock_checker")
    with shop.pipeline.refusing("sns.PublishBatch"):
        for _ in range(shop.pipeline.max_receive_count("order_update")):
            shop.pipeline.deliver("order_update")
    assert shop.account("alice")[1] == 10

    assert watch(stack, []) == []
    assert [order.status for order in watch(stack, [order_id])] == ["REJECTED"]
    shop.pipeline.wait(2)
    shop.pipeline.run()

    assert shop.account("alice") == [1000, 0, 0]


def test_an_order_that_is_not_there_is_named_and_no_other_is_watched(shop: Shop, stack: Stack) -> None:
    order_id = unwatched(shop)

    with pytest.raises(StackError, match="no order unheard-of in shop"):
        watch(stack, [order_id, "unheard-of"])

    shop.pipeline.wait(2)
    shop.pipeline.run()
    assert shop.status(order_id) == "PENDING"


def test_by_command(shop: Shop, stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch") == 0
    assert "looked at now: 0" in capsys.readouterr().out
    order_id = unwatched(shop)

    assert run("watch", "--json") == 0
    assert json.loads(capsys.readouterr().out)["watched"] == [order_id]
    assert run("watch", "unheard-of") == 2
    stack.client("sqs").delete_queue(QueueUrl=stack.output("OrderWatchQueueUrl"))
    assert run("watch") == 1
    assert "1 messages could not be sent yet" in capsys.readouterr().err
