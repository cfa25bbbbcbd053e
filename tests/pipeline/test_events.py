"""What happens to orders is told on the event topic: each fact once or more, never lost, and in order."""

from __future__ import annotations

from typing import Any

import pytest

from order_capture.adapters.serializers import decimal_json
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of


class Listener:
    """Somebody's queue behind the event topic."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._take = pipeline.listen("OrderEventTopic")
        self.heard: list[dict[str, Any]] = []

    def listen(self) -> list[dict[str, Any]]:
        """All that was ever heard, as it came."""
        self.heard += [decimal_json.loads(body) for body in self._take()]
        return self.heard

    def story(self, order_id: str) -> list[tuple[str, str]]:
        """What was heard of an order, each fact once, by its sequence."""
        events = {event["id"]: event for event in self.listen() if event["subject"] == order_id}
        return sorted((event["sequence"], event["type"]) for event in events.values())


@pytest.fixture
def listener(shop: Shop) -> Listener:
    return Listener(shop.pipeline)


SHIPPED = [("1", "order.placed"), ("2", "order.confirmed"), ("3", "order.shipped")]


def test_the_whole_life_of_an_order_is_told(shop: Shop, listener: Listener) -> None:
    shipped = shop.order(order_of("alice", 10, pen=1), key="key-1")
    rejected = shop.order(order_of("bob", 100, pen=1))
    shop.pipeline.run()

    assert listener.story(shipped) == SHIPPED
    assert listener.story(rejected) == [("1", "order.placed"), ("2", "order.rejected")]


def test_an_order_that_is_called_off_says_so_last(shop: Shop, listener: Listener) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
    shop.cancel(order_id)
    shop.pipeline.run()

    assert listener.story(order_id) == [
        ("1", "order.placed"),
        ("2", "order.confirmed"),
        ("3", "order.cancelled"),
    ]


def test_each_event_has_the_order_as_it_was_at_that_moment(shop: Shop, listener: Listener) -> None:
    placed = shop.post(order_of("alice", 10, pen=1)).body
    shop.pipeline.run()

    events = {event["type"]: event for event in listener.listen()}

    assert events["order.placed"]["data"] == placed
    assert events["order.shipped"]["data"] == shop.view(placed["orderId"])
    assert events["order.confirmed"]["data"]["status"] == "CONFIRMED"
    assert events["order.confirmed"]["time"] == events["order.confirmed"]["data"]["updateTime"]


@pytest.mark.parametrize("fault", ["sns.PublishBatch", "sqs.SendMessageBatch"])
def test_what_could_not_be_told_is_told_later(shop: Shop, listener: Listener, fault: str) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    with shop.pipeline.refusing(fault), pytest.raises(Exception, match="not"):
        shop.pipeline.publish_changes()
    shop.pipeline.run()

    assert listener.story(order_id) == SHIPPED


def test_what_is_told_twice_is_the_same_event(shop: Shop, listener: Listener) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run(times=2)

    events = [event for event in listener.listen() if event["subject"] == order_id]

    assert len(events) == 6
    assert listener.story(order_id) == SHIPPED


def test_a_listener_may_choose_by_type(shop: Shop, pipeline: Pipeline) -> None:
    take = pipeline.listen("OrderEventTopic", {"type": ["order.rejected"]})
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("bob", 100, pen=1))
    pipeline.run()

    assert [decimal_json.loads(body)["type"] for body in take()] == ["order.rejected"]
