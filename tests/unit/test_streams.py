"""DynamoDB stream batches in: new orders alone are taken from them, all or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from order_capture.adapters.attributes import to_item
from order_capture.adapters.streams import stream_handler


def record(order_id: str, event: str = "INSERT", **image: Any) -> dict[str, Any]:
    values = {"orderId": order_id, "correlationId": f"of {order_id}", "status": "PENDING", **image}
    keys = {"orderId": {"S": order_id}}
    return {"eventName": event, "dynamodb": {"Keys": keys, "NewImage": to_item(values)}}


def handled(*records: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """What `work` was called with, each time."""
    calls: list[list[tuple[str, str]]] = []

    def work(placed: Sequence[tuple[str, str]]) -> None:
        calls.append(list(placed))

    assert stream_handler(work)({"Records": list(records)}, None) == {}
    return calls


def test_new_orders_are_handed_over_together_with_their_correlation_ids() -> None:
    assert handled(record("order-1"), record("order-2")) == [
        [("order-1", "of order-1"), ("order-2", "of order-2")]
    ]


def test_a_change_of_an_order_is_no_new_order() -> None:
    assert handled(record("order-1", "MODIFY", status="CONFIRMED"), record("order-2")) == [
        [("order-2", "of order-2")]
    ]


def test_an_order_that_is_deleted_has_no_image_and_is_no_new_order() -> None:
    removed = {"eventName": "REMOVE", "dynamodb": {"Keys": {"orderId": {"S": "order-1"}}}}
    assert handled(removed) == []


def test_the_record_of_a_request_is_no_order() -> None:
    request = record("request-1", status=None, correlationId=None, fingerprint="print-1")
    assert handled(request, record("order-1")) == [[("order-1", "of order-1")]]


def test_what_fails_is_told_to_lambda_so_that_the_batch_comes_again() -> None:
    def work(_: Sequence[tuple[str, str]]) -> None:
        raise RuntimeError("no queue")

    with pytest.raises(RuntimeError, match="no queue"):
        stream_handler(work)({"Records": [record("order-1")]}, None)
