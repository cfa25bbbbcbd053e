"""Order events are published on the event topic: at least once, never lost, and in order."""

from __future__ import annotations

from typing import Any

import pytest

from order_capture.adapters.serializers import decimal_json
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of


class EventRecorder:
    """An external queue behind the event topic."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._take = pipeline.listen("OrderEventTopic")
        self.received: list[dict[str, Any]] = []

    def listen(self) -> list[dict[str, Any]]:
        """All events received so far, as they arrived."""
        self.received += [decimal_json.loads(body) for body in self._take()]
        return self.received

    def story(self, order_id: str) -> list[tuple[str, str]]:
        """The events received of an order, each once, by sequence."""
        events = {event["id"]: event for event in self.listen() if event["subject"] == order_id}
        return sorted((event["sequence"], event["type"]) for event in events.values())


@pytest.fixture
def listener(shop: Shop) -> EventRecorder:
    return EventRecorder(shop.pipeline)


SHIPPED = [("1", "order.placed"), ("2", "order.confirmed"), ("3", "order.shipped")]


def test_every_event_of_an_order_is_published(shop: Shop, listener: EventRecorder) -> None:
    shipped = shop.order(order_of("alice", 10, pen=1), key="key-1")
    rejected = shop.order(order_of("bob", 100, pen=1))
    shop.pipeline.run()

    assert listener.story(shipped) == SHIPPED
    assert listener.story(rejected) == [("1", "order.placed"), ("2", "order.rejected")]


def test_cancelled_is_the_last_event_of_a_cancelled_order(shop: Shop, listener: EventRecorder) -> None:
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


def test_each_event_has_the_order_as_it_was_at_that_moment(shop: Shop, listener: EventRecorder) -> None:
    placed = shop.post(order_of("alice", 10, pen=1)).body
    shop.pipeline.run()

    events = {event["type"]: event for event in listener.listen()}

    assert events["order.placed"]["data"] == placed
    assert events["order.shipped"]["data"] == shop.view(placed["orderId"])
    assert events["order.confirmed"]["data"]["status"] == "CONFIRMED"
    assert events["order.confirmed"]["time"] == events["order.confirmed"]["data"]["updateTime"]


@pytest.mark.parametrize("fault", ["sns.PublishBatch", "sqs.SendMessageBatch"])
def test_a_failed_publish_is_retried(shop: Shop, listener: EventRecorder, fault: str) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    with shop.pipeline.refusing(fault), pytest.raises(Exception, match="not"):
        shop.pipeline.publish_changes()
    shop.pipeline.run()

    assert listener.story(order_id) == SHIPPED


def test_a_repeated_publish_is_the_same_event(shop: Shop, listener: EventRecorder) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run(times=2)

    events = [event for event in listener.listen() if event["subject"] == order_id]

    assert len(events) == 6
    assert listener.story(order_id) == SHIPPED


def test_a_subscriber_can_filter_by_type(shop: Shop, pipeline: Pipeline) -> None:
    take = pipeline.listen("OrderEventTopic", {"type": ["order.rejected"]})
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("bob", 100, pen=1))
    pipeline.run()

    assert [decimal_json.loads(body)["type"] for body in take()] == ["order.rejected"]
