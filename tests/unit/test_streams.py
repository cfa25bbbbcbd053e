"""DynamoDB stream batches in: every change of an order is taken from them, all or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from order_capture.adapters.attributes import to_item
from order_capture.adapters.dynamodb_orders import to_order_item
from order_capture.adapters.streams import stream_handler
from order_capture.application.publish_changes import OrderChange
from order_capture.domain.order import Check, Order
from tests.support.factories import NOW, declined, placed, terms_of

ONE, TWO = placed(terms_of("order-1")), placed(terms_of("order-2"))
REJECTED = ONE.decide(Check.STOCK, declined(), now=NOW)


def record(after: Order, before: Order | None = None) -> dict[str, Any]:
    images: dict[str, Any] = {"Keys": {"orderId": {"S": after.order_id}}, "NewImage": to_order_item(after)}
    if before is not None:
        images["OldImage"] = to_order_item(before)
    return {"eventName": "MODIFY" if before else "INSERT", "dynamodb": images}


def handled(*records: dict[str, Any]) -> list[list[OrderChange]]:
    """What `work` was called with, each time."""
    calls: list[list[OrderChange]] = []

    def work(changes: Sequence[OrderChange]) -> None:
        calls.append(list(changes))

    assert stream_handler(work)({"Records": list(records)}, None) == {}
    return calls


def test_changes_are_handed_over_together_in_their_order() -> None:
    assert handled(record(ONE), record(REJECTED, ONE), record(TWO)) == [
        [(None, ONE), (ONE, REJECTED), (None, TWO)]
    ]


def test_an_order_that_is_deleted_has_no_image_and_is_no_change() -> None:
    removed = {"eventName": "REMOVE", "dynamodb": {"Keys": {"orderId": {"S": "order-1"}}}}
    assert handled(removed) == []


def test_the_record_of_a_request_is_no_order() -> None:
    image = to_item({"orderId": "request-1", "fingerprint": "print-1"})
    request = {"eventName": "INSERT", "dynamodb": {"NewImage": image}}
    finished = {"eventName": "MODIFY", "dynamodb": {"NewImage": image, "OldImage": image}}

    assert handled(request, record(ONE), finished) == [[(None, ONE)]]


def test_what_fails_is_told_to_lambda_so_that_the_batch_comes_again() -> None:
    def work(_: Sequence[OrderChange]) -> None:
        raise RuntimeError("no queue")

    with pytest.raises(RuntimeError, match="no queue"):
        stream_handler(work)({"Records": [record(ONE)]}, None)
