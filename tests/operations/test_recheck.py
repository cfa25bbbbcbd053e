"""Orders are put back on the watchdog's queue."""

from __future__ import annotations

import json

import pytest

from order_capture_ops.recheck import recheck
from order_capture_ops.stack import Stack, StackError
from tests.operations.conftest import Run
from tests.support.shop import Shop, order_of


def lost_order(shop: Shop) -> str:
    """Place an order whose message and whose watchdog message are both lost."""
    with shop.pipeline.refusing("sns.PublishBatch"):
        assert shop.post(order_of("alice", 10, pen=1), key="key-1").status == 503
    (order_id,) = shop.pipeline.order_ids()
    return order_id


def test_an_open_order_is_continued(shop: Shop, stack: Stack) -> None:
    order_id = lost_order(shop)
    shop.pipeline.run()
    assert shop.status(order_id) == "PENDING"

    rechecked = recheck(stack, [])
    shop.pipeline.wait(2)
    shop.pipeline.run()

    assert [order.order_id for order in rechecked] == [order_id]
    assert shop.status(order_id) == "SHIPPED"


def test_an_ended_order_is_rechecked_if_it_is_given(shop: Shop, stack: Stack) -> None:
    """A rejected order whose release was lost keeps its hold until it is rechecked."""
    order_id = shop.order(order_of("alice", 10, pen=1000))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.deliver("stock_checker")
    with shop.pipeline.refusing("sns.PublishBatch"):
        for _ in range(shop.pipeline.max_receive_count("order_update")):
            shop.pipeline.deliver("order_update")
    assert shop.account("alice")[1] == 10

    assert recheck(stack, []) == []
    assert [order.status for order in recheck(stack, [order_id])] == ["REJECTED"]
    shop.pipeline.wait(2)
    shop.pipeline.run()

    assert shop.account("alice") == [1000, 0, 0]


def test_a_missing_order_is_named_and_no_other_is_rechecked(shop: Shop, stack: Stack) -> None:
    order_id = lost_order(shop)

    with pytest.raises(StackError, match="no order unheard-of in shop"):
        recheck(stack, [order_id, "unheard-of"])

    shop.pipeline.wait(2)
    shop.pipeline.run()
    assert shop.status(order_id) == "PENDING"


def test_by_command(shop: Shop, stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch") == 0
    assert "Orders being rechecked: 0" in capsys.readouterr().out
    order_id = lost_order(shop)

    assert run("watch", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rechecked"] == [order_id]
    assert run("watch", "unheard-of") == 2
    stack.client("sqs").delete_queue(QueueUrl=stack.output("OrderWatchQueueUrl"))
    assert run("watch") == 1
    assert "1 messages could not be sent yet" in capsys.readouterr().err
