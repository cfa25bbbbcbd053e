"""A consumer service with its own queue behind the event topic of the deployed stack."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import simplejson

from tests.deployed.listener import Listener, listening
from tests.deployed.shop import StackClient, View, body_of, eventually, order_body

ORDERS = 200
CONFIRMED_AND_SHIPPED = ["order.placed", "order.confirmed", "order.shipped"]
REJECTED = ["order.placed", "order.rejected"]


class Stories:
    """The events of orders received so far."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._received: list[View] = []

    def listen(self) -> dict[str, list[View]]:
        """The events received of each order, each once, by sequence."""
        self._received += [simplejson.loads(body, use_decimal=True) for body in self._listener.take()]
        stories: dict[str, dict[str, View]] = {}
        for event in self._received:
            stories.setdefault(event["subject"], {})[event["id"]] = event
        return {
            order_id: sorted(events.values(), key=lambda event: int(event["sequence"]))
            for order_id, events in stories.items()
        }


@pytest.fixture
def stories(shop: StackClient) -> Iterator[Stories]:
    with listening(shop, "OrderEventTopicArn") as listener:
        yield Stories(listener)


@pytest.mark.timeout(300)
def test_every_event_of_two_hundred_orders_is_published_in_order(shop: StackClient, stories: Stories) -> None:
    # given a product of which there is enough for half of them
    alice, pen = shop.new_customer("1000.00"), shop.new_product(ORDERS // 2)
    # when
    order_ids = []
    for _ in range(2):
        orders = [order_body(alice, {pen: 1}, "1.00") for _ in range(ORDERS // 2)]
        order_ids += [
            order["orderId"] for order in body_of(shop.post("/orders", {"orders": orders}))["orders"]
        ]
    views = {view["orderId"]: view for view in shop.all_ended(order_ids)}
    # then
    published = eventually(
        stories.listen,
        lambda published: all(
            published.get(order_id, [{}])[-1].get("type") == f"order.{view['status'].lower()}"
            for order_id, view in views.items()
        ),
    )
    assert published.keys() >= views.keys()
    for order_id, view in views.items():
        story, shipped = published[order_id], view["status"] == "SHIPPED"
        assert [event["type"] for event in story] == (CONFIRMED_AND_SHIPPED if shipped else REJECTED)
        assert [event["sequence"] for event in story] == ["1", "2", "3"][: len(story)]
        # A rejected order may have received its other check's result since.
        assert story[-1]["data"]["status"] == view["status"]
        assert not shipped or story[-1]["data"] == view
    assert sum(view["status"] == "SHIPPED" for view in views.values()) == ORDERS // 2


@contextmanager
def written_by_hand(shop: StackClient, table: str, keys: dict[str, str], **more: str) -> Iterator[None]:
    """While this lasts, a table has an item that no function wrote."""
    tables = shop.aws.client("dynamodb", endpoint_url=shop.endpoint)
    key, name = {each: {"S": value} for each, value in keys.items()}, shop.outputs[f"{table}Name"]
    tables.put_item(TableName=name, Item=key | {each: {"S": value} for each, value in more.items()})
    yield
    tables.delete_item(TableName=name, Key=key)


def dead_letters(shop: StackClient, function: str) -> list[dict[str, str]]:
    """The keys of the records in a function's dead-letter queue, which are removed from it."""
    url = shop.outputs[f"{function}DlqUrl"]
    messages = eventually(
        lambda: shop.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []), bool
    )
    for message in messages:
        shop.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"])["keys"] for message in messages]


def test_an_unreadable_order_delays_no_other_event(shop: StackClient, stories: Stories) -> None:
    # given
    alice, pen, broken = shop.new_customer(), shop.new_product(), {"orderId": str(uuid.uuid4())}
    with written_by_hand(shop, "OrderTable", broken, status="PENDING"):
        # when
        order_id = shop.place(alice, {pen: 1}, "1.00")
        # then
        published = eventually(stories.listen, lambda published: len(published.get(order_id, [])) == 3)
        assert [event["type"] for event in published[order_id]] == CONFIRMED_AND_SHIPPED
        assert dead_letters(shop, "ChangePublisher") == [broken]


def test_an_unreadable_account_delays_no_other_state(shop: StackClient) -> None:
    # given
    broken = {"customerId": f"customer-{uuid.uuid4()}", "entry": "BALANCE"}
    with (
        listening(shop, "AccountTopicArn") as listener,
        written_by_hand(shop, "AccountTable", broken, balance="much"),
    ):
        # when
        alice = shop.new_customer()
        # then
        received: set[str] = set()

        def listen() -> set[str]:
            received.update(json.loads(body)["subject"] for body in listener.take())
            return received

        assert alice in eventually(listen, lambda received: alice in received)
        path = f"/account/{alice}/history"
        history = eventually(lambda: body_of(shop.get(path))["entries"], bool)
        assert [entry["type"] for entry in history] == ["ADJUST"]
        assert [dead_letters(shop, each) for each in ("LedgerPublisher", "HistoryProjector")] == [
            [broken]
        ] * 2
