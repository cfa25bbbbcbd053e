"""All messages of the real handlers, internal and external, follow the committed schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from jsonschema import Draft202012Validator

from contracts import asyncapi
from contracts.registry import CHANNELS, EVENTS, MESSAGES, REFUSED, SUBSCRIBED, Kind, Message
from contracts.samples import samples
from order_capture import bootstrap
from tests.support.contracts import BY_DATASCHEMA, faults
from tests.support.factories import customer_claims, queue_event, socket_event
from tests.support.fakes import MemoryConnectionClient
from tests.support.pipeline import Pipeline
from tests.support.receiver import FakeReceiver
from tests.support.shop import Shop, order_of

READERS = {name: channel for channel in CHANNELS if channel.kind is Kind.QUEUE for name in channel.receivers}
BY_NAME = {channel.name: channel for channel in CHANNELS}
SAMPLES = {kind: text for (kind, _), text in samples().items()}


@pytest.fixture
def connections() -> Iterator[MemoryConnectionClient]:
    connections = MemoryConnectionClient()
    with mock.patch.object(bootstrap, "connections", return_value=connections):
        yield connections


@pytest.fixture
def receiver(pipeline: Pipeline) -> Iterator[FakeReceiver]:
    for name in ("webhook_api", "webhook_sender"):
        pipeline.configure(name, LOOPBACK_WEBHOOKS="true")
    with FakeReceiver() as receiver:
        yield receiver


def live(shop: Shop) -> None:
    """Orders with every final status, all of them checked by the watchdog."""
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("bob", 100, pen=1))
    shop.order(order_of("alice", 10, pen=1, ink=2))
    shop.order(order_of("alice", 10, unicorn=1))
    shop.cancel(shop.order(order_of("alice", 10, pen=1)))
    shop.pipeline.run()
    shop.order(order_of("alice", 10, pen=1))
    for _ in range(6):
        for name in ("balance_checker", "stock_checker"):
            shop.pipeline.held_up(name)
        shop.pipeline.publish_changes()
        shop.pipeline.deliver("order_watchdog")
        shop.pipeline.wait(900)
    shop.pipeline.run()


def say(shop: Shop, text: str) -> str:
    event = socket_event(text, claims=customer_claims("alice"))
    return str(shop.pipeline.invoke("socket_api", event)["body"])


def test_every_message_of_a_function_has_its_queues_schema(
    shop: Shop, receiver: FakeReceiver, connections: MemoryConnectionClient
) -> None:
    shop.pipeline.ask("POST", "/webhooks", {"customerId": "alice", "url": receiver.url})
    say(shop, '{"action": "subscribe", "customerId": "alice"}')
    live(shop)

    given: set[tuple[str, Message]] = set()
    for name, body in shop.pipeline.delivered:
        assert faults(body) == [], body
        given.add((name, BY_DATASCHEMA[json.loads(body)["dataschema"]]))
    # Each kind occurred, and only on its own channels.
    assert given == {(name, message) for name, channel in READERS.items() for message in channel.messages}


def test_states_of_accounts_and_stock_conform_to_the_schema(shop: Shop) -> None:
    listeners = {name: shop.pipeline.listen(name) for name in ("AccountTopic", "StockTopic")}
    shop.open({"carol": 5}, {"lamp": 1})
    live(shop)
    for path in ("/account/carol", "/stock/lamp"):
        assert shop.pipeline.ask("DELETE", path).status == 204
    shop.pipeline.run()

    for name, take in listeners.items():
        bodies = take()
        assert {json.loads(body)["data"]["deleted"] for body in bodies} == {True, False}
        assert [faults(body) for body in bodies if faults(body)] == []
        (message,) = {BY_DATASCHEMA[json.loads(body)["dataschema"]] for body in bodies}
        assert (message,) == BY_NAME[name].messages


def test_webhooks_conform_to_the_schema_and_have_its_headers(shop: Shop, receiver: FakeReceiver) -> None:
    shop.pipeline.ask("POST", "/webhooks", {"customerId": "alice", "url": receiver.url})
    live(shop)

    published = set()
    for each in receiver.received:
        event = BY_DATASCHEMA[json.loads(each.body)["dataschema"]]
        sent = {name.lower(): value for name, value in each.headers.items()}
        assert faults(each.body, event) == []
        assert list(Draft202012Validator(asyncapi.headers(Kind.WEBHOOK, event)).iter_errors(sent)) == []
        published.add(event)
    assert published == set(EVENTS)


def test_websocket_messages_conform_to_the_schema(shop: Shop, connections: MemoryConnectionClient) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    answers = {
        '{"action": "subscribe", "customerId": "alice"}': SUBSCRIBED,
        json.dumps({"action": "subscribe", "orderId": order_id}): SUBSCRIBED,
        '{"action": "subscribe", "orderId": "another"}': REFUSED,
        '{"action": "subscribe", "customerId": "bob"}': REFUSED,
        "hello?": REFUSED,
    }
    for text, answer in answers.items():
        assert faults(say(shop, text), answer) == []
    live(shop)

    published = {BY_DATASCHEMA[json.loads(text)["dataschema"]] for _, text in connections.sent}
    assert published == set(EVENTS)
    assert [faults(text) for _, text in connections.sent if faults(text)] == []


@pytest.mark.parametrize("name", READERS)
def test_a_function_accepts_only_the_messages_of_its_queue(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    read = []
    for message in MESSAGES:
        caplog.clear()
        answer = pipeline.invoke(name, queue_event(SAMPLES[message.type], queue=name))
        if "refused a message" in caplog.text:
            assert answer["batchItemFailures"] == [{"itemIdentifier": "message-0"}]
        else:
            read.append(message)

    assert set(read) == set(READERS[name].messages)


@pytest.mark.parametrize("name", READERS)
def test_an_unknown_version_is_dead_lettered(shop: Shop, name: str) -> None:
    message = READERS[name].messages[0]
    newer: dict[str, Any] = json.loads(SAMPLES[message.type]) | {"dataschema": f"{message.dataschema}0"}
    shop.pipeline.put(name, json.dumps(newer))
    shop.pipeline.run()

    assert [json.loads(body) for body in shop.pipeline.dead_letters(name)] == [newer]
