"""The demo's orders, without a stack."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from local import demo

BATCH = demo._batch("http://127.0.0.1:9/callback")


class Answers(demo.Api):
    """An API that accepts every order of a batch but the second."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def post(self, path: str, body: dict[str, Any], expected: int) -> dict[str, Any]:
        self.sent = body["orders"]
        accepted = {"orderId": "1", "status": "PENDING", "checks": {}}
        rejected = {"problem": {"errors": [{"field": "items[0].qty", "message": "must be at least 1"}]}}
        return {"orders": [accepted, rejected, *[accepted] * (len(self.sent) - 2)]}


@pytest.mark.parametrize("order", [*demo._orders(), *BATCH, demo._followed_order()], ids=lambda o: o.product)
def test_the_unit_prices_of_an_order_add_up_to_its_total(order: demo.DemoOrder) -> None:
    (item,) = order.body["items"]

    assert item.get("unitPrice", order.total / order.qty) * item["qty"] == order.body["totalAmount"]


def test_the_batch_has_an_order_with_an_invalid_quantity() -> None:
    api = Answers()

    shown = demo._send_batch(api, [dataclasses.replace(order) for order in BATCH])

    assert shown == "items[0].qty must be at least 1"
    assert [order["items"][0]["qty"] for order in api.sent] == [4, 0, 3, 1]
