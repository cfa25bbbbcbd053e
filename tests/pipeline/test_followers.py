"""An order's events reach its subscribers, through topic, queue and the real table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from order_capture import bootstrap
from order_capture.adapters.serializers import decimal_json
from tests.support.factories import customer_claims, socket_event
from tests.support.fakes import MemoryConnectionClient
from tests.support.shop import Shop, order_of

SHIPPED = [("1", "order.placed"), ("2", "order.confirmed"), ("3", "order.shipped")]


@pytest.fixture
def connections() -> Iterator[MemoryConnectionClient]:
    connections = MemoryConnectionClient()
    with mock.patch.object(bootstrap, "connections", return_value=connections):
        yield connections


def say(
    shop: Shop, connection_id: str, customer: str, more: dict[str, str] | None = None, **what: str | bool
) -> dict[str, Any]:
    text = json.dumps({"action": "subscribe", **what})
    event = socket_event(text, connection_id=connection_id, claims=customer_claims(customer) | (more or {}))
    answer: dict[str, Any] = decimal_json.loads(shop.pipeline.invoke("socket_api", event)["body"])
    return answer


def story(connections: MemoryConnectionClient, connection_id: str) -> list[tuple[str, str]]:
    events = [decimal_json.loads(text) for to, text in connections.sent if to == connection_id]
    return [(event["sequence"], event["type"]) for event in events]


def test_a_customer_gets_the_events_of_all_their_orders(
    shop: Shop, connections: MemoryConnectionClient
) -> None:
    assert say(shop, "c-1", "alice", customerId="alice") == {"subscribed": {"customerId": "alice"}}
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("bob", 1, pen=1))
    shop.pipeline.run()

    assert story(connections, "c-1") == SHIPPED
    assert decimal_json.loads(connections.sent[-1][1])["data"] == shop.view(order_id)


def test_an_operator_gets_the_events_of_all_orders(shop: Shop, connections: MemoryConnectionClient) -> None:
    operator = {"groups": "staff,operators"}
    assert say(shop, "c-1", "olga", operator, all=True) == {"subscribed": {"all": True}}
    orders = {shop.order(order_of("alice", 10, pen=1)), shop.order(order_of("bob", 10, pen=1))}
    shop.pipeline.run()

    sent = [decimal_json.loads(text) for to, text in connections.sent if to == "c-1"]
    assert {event["subject"] for event in sent} == orders
    assert len(sent) == 6


def test_a_customer_is_refused_the_events_of_all_orders(
    shop: Shop, connections: MemoryConnectionClient
) -> None:
    problem = say(shop, "c-1", "alice", all=True)["problem"]
    assert (problem["status"], problem["type"]) == (403, "urn:order-capture:problem:forbidden")
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert connections.sent == []


def test_a_late_subscriber_gets_the_current_state(shop: Shop, connections: MemoryConnectionClient) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert say(shop, "c-1", "alice", orderId=order_id)["order"] == shop.view(order_id)
    assert say(shop, "c-2", "bob", orderId=order_id)["problem"]["status"] == 404
    assert connections.sent == []


def test_who_subscribes_before_the_events_are_published_gets_them(
    shop: Shop, connections: MemoryConnectionClient
) -> None:
    # given an order whose event is not published yet
    shop.order(order_of("alice", 10, pen=1))
    # when
    say(shop, "c-1", "alice", customerId="alice")
    shop.pipeline.run()
    # then
    assert story(connections, "c-1") == SHIPPED


def test_a_repeated_publish_is_the_same_event(shop: Shop, connections: MemoryConnectionClient) -> None:
    say(shop, "c-1", "alice", customerId="alice")
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run(times=2)

    ids = [decimal_json.loads(text)["id"] for _, text in connections.sent]
    assert len(ids) > len(set(ids)) == 3


def test_a_failed_push_is_retried(shop: Shop, connections: MemoryConnectionClient) -> None:
    say(shop, "c-1", "alice", customerId="alice")
    connections.fail = {"c-1"}
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    shop.pipeline.deliver("socket_pusher")
    assert connections.sent == []

    connections.fail = set()
    shop.pipeline.run()

    assert story(connections, "c-1") == SHIPPED


def test_a_poison_message_is_dead_lettered_by_this_queue_only(
    shop: Shop, connections: MemoryConnectionClient
) -> None:
    say(shop, "c-1", "alice", customerId="alice")
    shop.pipeline.put("socket_pusher", "poison")
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert story(connections, "c-1") == SHIPPED
    assert shop.pipeline.dead_letters("socket_pusher") == ["poison"]


def test_a_closed_connection_gets_no_more_events(shop: Shop, connections: MemoryConnectionClient) -> None:
    say(shop, "c-1", "alice", customerId="alice")
    shop.pipeline.invoke("socket_api", socket_event(kind="DISCONNECT", connection_id="c-1"))
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert connections.sent == []
