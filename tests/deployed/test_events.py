"""A service that follows along: its own queue behind the event topic of the deployed stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import simplejson

from tests.deployed.listener import Listener, listening
from tests.deployed.shop import Shop, View, body_of, eventually, order_body

ORDERS = 200
CONFIRMED_AND_SHIPPED = ["order.placed", "order.confirmed", "order.shipped"]
REJECTED = ["order.placed", "order.rejected"]


class Stories:
    """All that was heard of orders."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._heard: list[View] = []

    def listen(self) -> dict[str, list[View]]:
        """What was heard of each order, each event once, by its sequence."""
        self._heard += [simplejson.loads(body, use_decimal=True) for body in self._listener.take()]
        stories: dict[str, dict[str, View]] = {}
        for event in self._heard:
            stories.setdefault(event["subject"], {})[event["id"]] = event
        return {
            order_id: sorted(events.values(), key=lambda event: int(event["sequence"]))
            for order_id, events in stories.items()
        }


@pytest.fixture
def stories(shop: Shop) -> Iterator[Stories]:
    with listening(shop, "OrderEventTopicArn") as listener:
        yield Stories(listener)


@pytest.mark.timeout(300)
def test_of_two_hundred_orders_every_event_is_told_in_order_and_none_is_missing(
    shop: Shop, stories: Stories
) -> None:
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
    told = eventually(
        stories.listen,
        lambda told: all(
            told.get(order_id, [{}])[-1].get("type") == f"order.{view['status'].lower()}"
            for order_id, view in views.items()
        ),
    )
    assert told.keys() >= views.keys()
    for order_id, view in views.items():
        story, shipped = told[order_id], view["status"] == "SHIPPED"
        assert [event["type"] for event in story] == (CONFIRMED_AND_SHIPPED if shipped else REJECTED)
        assert [event["sequence"] for event in story] == ["1", "2", "3"][: len(story)]
        # A refused order may have got its other check's answer since.
        assert story[-1]["data"]["status"] == view["status"]
        assert not shipped or story[-1]["data"] == view
    assert sum(view["status"] == "SHIPPED" for view in views.values()) == ORDERS // 2
