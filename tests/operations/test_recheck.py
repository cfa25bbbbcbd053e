"""Orders are sent to the watchdog's queue again."""

from __future__ import annotations

import json

import pytest

from order_capture.domain.errors import NotFoundError
from order_capture_ops.recheck import recheck
from order_capture_ops.stack import Stack
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

    assert recheck(stack, []) == [], "nobody watches it, so nobody has found it open"
    rechecked = recheck(stack, [], scan=True)
    shop.pipeline.wait(2)
    shop.pipeline.run()

    assert rechecked == [order_id]
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

    assert shop.status(order_id) == "REJECTED"
    assert recheck(stack, [], scan=True) == []
    assert recheck(stack, [order_id]) == [order_id]
    shop.pipeline.wait(2)
    shop.pipeline.run()

    assert shop.account("alice") == [1000, 0, 0]


def test_a_missing_order_is_named_and_no_other_is_rechecked(shop: Shop, stack: Stack) -> None:
    order_id = lost_order(shop)

    with pytest.raises(NotFoundError, match="Unknown or unreadable: order unheard-of"):
        recheck(stack, [order_id, "unheard-of"])

    shop.pipeline.wait(2)
    shop.pipeline.run()
    assert shop.status(order_id) == "PENDING"


def test_by_command(shop: Shop, stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("watch") == 0
    assert "Orders being rechecked: 0" in capsys.readouterr().out
    order_id = lost_order(shop)

    assert run("watch", "--scan", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rechecked"] == [order_id]
    assert run("watch", "unheard-of") == 2
    stack.client("sqs").delete_queue(QueueUrl=stack.output("OrderWatchQueueUrl"))
    assert run("watch", "--scan") == 1
    assert "1 messages could not be sent yet" in capsys.readouterr().err
