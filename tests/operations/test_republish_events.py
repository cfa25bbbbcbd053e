"""Order events are published again, with the same content and ids."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from order_capture.domain.errors import TransientError
from order_capture_ops.republish_events import RepublishedEvents, republish_events
from order_capture_ops.stack import Stack
from tests.operations.conftest import Run
from tests.support.shop import CHECKERS, Shop, order_of, priced


def by_id(bodies: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Events by id, without their source."""
    events = {event["id"]: event for event in map(json.loads, bodies)}
    return {event_id: {k: v for k, v in event.items() if k != "source"} for event_id, event in events.items()}


@pytest.fixture
def traded(shop: Shop) -> Shop:
    """Orders that are shipped, rejected, cancelled and open."""
    for body in (order_of("alice", 10, pen=1, ink=2), order_of("bob", 6, pen=99), order_of("bob", 99, pen=1)):
        shop.order(body)
    for checker in CHECKERS:  # one by one, since an event has both results if they arrive together
        shop.pipeline.deliver(checker)
        shop.pipeline.deliver("order_update")
    shop.pipeline.run()
    gold = {"productId": "gold", "balance": 9, "price": 499}
    assert shop.pipeline.ask("POST", "/stock", gold).status == 200
    shop.order(priced(order_of("bob", 0, gold=5), 0))
    shop.pipeline.run()
    assert shop.cancel(shop.order(order_of("alice", 1, ink=1))).status == 200
    shop.order(order_of("alice", 7, pen=1))
    return shop


def test_republished_events_equal_those_from_the_stream(traded: Shop, run: Run) -> None:
    # given: the events that the stream publishes
    take = traded.pipeline.listen("OrderEventTopic")
    traded.pipeline.replay_streams()
    traded.pipeline.publish_changes()
    printed = by_id(take())
    # when
    assert run("republish-events", "--since", "2020-01-01") == 0
    # then
    again = by_id(take())
    assert sorted(event["type"] for event in again.values()) == [
        *["order.cancelled", "order.confirmed"],
        *["order.placed"] * 6,
        *["order.rejected"] * 3,
        "order.shipped",
    ]
    assert again == printed


def test_republished_events_are_offered_to_webhooks_and_connections_too(traded: Shop, run: Run) -> None:
    # given an order whose events had no subscribers
    order_id = traded.order(order_of("alice", 1, pen=1))
    traded.pipeline.run()
    # when
    assert run("republish-events", order_id) == 0
    # then
    for name in ("webhook_dispatcher", "socket_pusher"):
        assert traded.pipeline.deliver(name) == 3


def test_only_events_of_the_given_orders(traded: Shop, run: Run) -> None:
    first, second = (traded.order(order_of("alice", 1, pen=1)) for _ in range(2))
    take = traded.pipeline.listen("OrderEventTopic")

    assert run("republish-events", first, second, first) == 0

    assert sorted(event["subject"] for event in map(json.loads, take())) == sorted([first, second])


def test_only_events_since_a_time_in_any_zone(traded: Shop, run: Run) -> None:
    traded.pipeline.wait(3600)
    now = traded.pipeline.now()
    order_id = traded.order(order_of("alice", 1, pen=1))
    take = traded.pipeline.listen("OrderEventTopic")

    assert run("republish-events", "--since", now.replace("Z", "+00:00")) == 0

    assert [event["subject"] for event in map(json.loads, take())] == [order_id]


def test_either_orders_or_a_time_is_required(
    traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    take = traded.pipeline.listen("OrderEventTopic")

    assert run("republish-events") == 2

    assert "Either ORDERS or SINCE is required." in capsys.readouterr().err
    assert take() == []


def test_an_invalid_time_is_rejected(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("republish-events", "--since", "yesterday")

    assert "SINCE (--since): 'yesterday' is not a time: use 2026-11-20T10:00Z" in capsys.readouterr().err


def test_a_missing_order_is_named_and_nothing_is_published(
    traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    order_id = traded.order(order_of("alice", 1, pen=1))
    take = traded.pipeline.listen("OrderEventTopic")

    assert run("republish-events", order_id, "order-0") == 2

    assert "There is no order order-0 in shop." in capsys.readouterr().err
    assert take() == []


def test_a_dry_run_counts_and_publishes_nothing(
    traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    take = traded.pipeline.listen("OrderEventTopic")

    assert run("republish-events", "--since", "2020-01-01", "--dry-run", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    counted = {"orders": 6, "events": 12, "unreadable": [], "refused": []}
    assert printed == {"stack": "shop", "published": False, **counted}
    assert take() == []


def test_an_unreadable_order_is_named_and_stops_no_other(
    traded: Shop, stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.client("dynamodb").update_item(
        TableName="OrderTable", Key={"orderId": {"S": "order-0"}}, **setting("status", "LOST")
    )

    assert run("republish-events", "--since", "2020-01-01") == 1

    printed = capsys.readouterr().out
    assert "Events: 12, of orders: 6" in printed
    assert "Skipped, unreadable: order-0" in printed


def test_a_repaired_order_can_be_republished(traded: Shop, stack: Stack, run: Run) -> None:
    # given an unreadable order, written before another one
    take, dynamodb = traded.pipeline.listen("OrderEventTopic"), stack.client("dynamodb")
    pages = dynamodb.get_paginator("scan").paginate(TableName="OrderTable")
    some = next(item for page in pages for item in page["Items"] if item["status"]["S"] == "SHIPPED")
    item = some | {"orderId": {"S": "order-0"}}
    dynamodb.put_item(
        TableName="OrderTable", Item=item | {"timeline": {"S": "none"}, "checks": {"S": "none"}}
    )
    good = traded.order(order_of("alice", 1, pen=1))
    # when
    traded.pipeline.publish_changes()
    # then the other one's event is published, and this one is dead-lettered
    assert [event["subject"] for event in map(json.loads, take())][-1] == good
    messages = stack.client("sqs").receive_message(QueueUrl=stack.output("ChangePublisherDlqUrl"))["Messages"]
    assert [json.loads(message["Body"])["keys"] for message in messages] == [{"orderId": "order-0"}]
    # and when it is repaired
    dynamodb.put_item(TableName="OrderTable", Item=item)
    assert run("republish-events", "order-0") == 0
    # then
    printed = [event["type"] for event in map(json.loads, take())]
    assert printed == ["order.placed", "order.confirmed", "order.shipped"]


def setting(name: str, value: str) -> dict[str, Any]:
    return {
        "UpdateExpression": "SET #name = :value",
        "ExpressionAttributeNames": {"#name": name},
        "ExpressionAttributeValues": {":value": {"S": value}},
    }


def refuse(**_: object) -> tuple[object, dict[str, Any]]:
    answer = {"Error": {"Code": "ServiceUnavailable"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    return SimpleNamespace(status_code=503), answer


def test_a_failed_publish_raises_a_transient_error(traded: Shop, stack: Stack) -> None:
    sns = stack.client("sns")
    sns.meta.events.register("before-call.sns.PublishBatch", refuse)
    throttled = replace(stack, client=lambda service: sns if service == "sns" else stack.client(service))

    with pytest.raises(TransientError, match="10 messages could not be sent yet"):
        republish_events(throttled, [], "2020-01-01T00:00:00.000Z")


def test_events_are_sent_at_the_given_rate(
    traded: Shop, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("order_capture_ops.republish_events.time.sleep", slept.append)

    done = republish_events(stack, [], "2020-01-01T00:00:00.000Z", rate=4)

    assert done == RepublishedEvents(orders=6, events=12)
    assert [round(seconds) for seconds in slept] == [1, 2, 3]
