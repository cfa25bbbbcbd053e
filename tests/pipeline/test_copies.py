"""Consumers keep copies of accounts and stock from the entity topics."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from order_capture.adapters.serializers import decimal_json
from tests.support.copies import Copy
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

ENTITIES = {"AccountTopic": ("alice", "bob", "carol"), "StockTopic": ("pen", "ink", "cap")}
PATHS = {"AccountTopic": "/account", "StockTopic": "/stock"}


class CopySubscriber:
    """An external queue behind each topic, with all received messages."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._take: dict[str, Callable[[], list[str]]] = {topic: pipeline.listen(topic) for topic in ENTITIES}
        self.received: dict[str, list[str]] = {topic: [] for topic in ENTITIES}

    def listen(self) -> dict[str, list[str]]:
        for topic, take in self._take.items():
            self.received[topic] += take()
        return self.received

    def events(self, topic: str) -> list[dict[str, Any]]:
        return [decimal_json.loads(body) for body in self.listen()[topic]]

    def copies(self, change: Callable[[list[str]], list[str]] = list) -> dict[str, dict[str, Any]]:
        """The copies built from the received states, reordered or repeated, in the form of `GET`."""
        views: dict[str, dict[str, Any]] = {}
        for topic, bodies in self.listen().items():
            copy = Copy()
            copy.apply(change(bodies))
            views[topic] = {entity: copy.view(entity) for entity in ENTITIES[topic]}
        return views

    def originals(self) -> dict[str, dict[str, Any]]:
        """What `GET` returns."""
        return {
            topic: {
                entity: answer.body if answer.status == 200 else None
                for entity in entities
                for answer in (self._pipeline.ask("GET", f"{PATHS[topic]}/{entity}"),)
            }
            for topic, entities in ENTITIES.items()
        }


@pytest.fixture
def follower(pipeline: Pipeline) -> CopySubscriber:
    return CopySubscriber(pipeline)


def business(shop: Shop) -> None:
    """Orders ship and are rejected; one customer is deleted, one product is deleted and created again."""
    for total, items in ((10, {"pen": 1}), (20, {"pen": 2, "ink": 1}), (500, {"pen": 1}), (1, {"ink": 9})):
        shop.order(order_of("alice", total, **items))
    shop.order(order_of("bob", 5, ink=1))
    shop.pipeline.run()
    shop.open({"carol": 5}, {"cap": 7})
    shop.pipeline.ask("DELETE", "/account/carol")
    shop.pipeline.ask("DELETE", "/stock/cap")
    shop.pipeline.run()
    shop.open({}, {"cap": 3})
    shop.order(order_of("bob", 1, pen=1))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.publish_changes()


def mixed_up(bodies: list[str]) -> list[str]:
    return random.Random(7).sample(bodies * 2, len(bodies) * 2)


@pytest.mark.parametrize(
    "change", [list, mixed_up, lambda bodies: bodies[::-1]], ids=["in order", "mixed up, twice", "backwards"]
)
def test_a_copy_equals_the_tables_in_any_order_of_events(
    shop: Shop, follower: CopySubscriber, change: Callable[[list[str]], list[str]]
) -> None:
    business(shop)

    assert follower.copies(change) == follower.originals()
    assert follower.originals()["AccountTopic"]["carol"] is None
    assert follower.originals()["StockTopic"]["cap"]["balance"] == 3
    assert follower.originals()["AccountTopic"]["bob"]["held"] == 1


def test_a_subscriber_can_filter_out_deletions(shop: Shop, follower: CopySubscriber) -> None:
    business(shop)

    for topic, name in (("AccountTopic", "customerId"), ("StockTopic", "productId")):
        for event in follower.events(topic):
            fields = {name, "version", "deleted"}
            assert event["data"].keys() == fields | (
                set() if event["data"]["deleted"] else {"balance", "held", "settled"}
            )
            assert event["subject"] == event["data"][name]


def test_a_batch_of_changes_is_published_as_one_state(shop: Shop, follower: CopySubscriber) -> None:
    shop.pipeline.publish_changes()
    before = len(follower.events("StockTopic"))
    for _ in range(3):
        shop.order(order_of("alice", 1, pen=1))
        shop.pipeline.deliver("stock_checker")

    shop.pipeline.publish_changes()

    (event,) = follower.events("StockTopic")[before:]
    assert (event["data"]["version"], event["data"]["held"]) == (4, 3)


def test_a_failed_publish_is_retried_with_the_same_event_id(shop: Shop, follower: CopySubscriber) -> None:
    with shop.pipeline.refusing("sns.PublishBatch"), pytest.raises(Exception, match="not be sent"):
        shop.pipeline.publish_changes()
    assert follower.listen() == {"AccountTopic": [], "StockTopic": []}

    shop.pipeline.publish_changes(times=2)

    assert follower.copies() == follower.originals()
    events = follower.events("AccountTopic")
    assert len(events) == 4
    assert len({event["id"] for event in events}) == 2


def test_a_subscriber_can_filter_by_type(shop: Shop, pipeline: Pipeline) -> None:
    states = pipeline.listen("AccountTopic", {"type": ["account.state"]})
    others = pipeline.listen("AccountTopic", {"type": ["stock.state"]})

    shop.pipeline.publish_changes()

    assert (len(states()), others()) == (2, [])
