"""The reason of a dead letter names the invalid field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture.adapters.operations import diagnosis
from order_capture.application.channels import channel
from tests.support.factories import body_of, check, details_of


def changed(change: Any) -> str:
    event = json.loads(body_of(check(details_of("order-1"))))
    change(event)
    return json.dumps(event)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("nonsense", "it is not JSON"),
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is JSON, but not an object"),
        ("{}", "specversion is missing"),
        (changed(lambda event: event.pop("data")), "data is missing"),
        (changed(lambda event: event["data"].pop("orderId")), "data.orderId is missing"),
        (changed(lambda event: event["data"].pop("items")), "data.items is missing"),
        (changed(lambda event: event["data"]["items"][0].pop("qty")), "data.items[0].qty is missing"),
        (changed(lambda event: event.update(type="order.eaten")), "its type 'order.eaten' is not known"),
        (
            changed(lambda event: event.update(dataschema="urn:order-capture:order.check:2")),
            "its dataschema 'urn:order-capture:order.check:2' is of a version",
        ),
        (changed(lambda event: event.update(specversion="0.3")), "specversion: "),
    ],
)
def test_an_undecodable_message_has_a_reason(body: str, reason: str) -> None:
    assert (diagnosis.rejection_reason(channel("balance_checker"), body) or "").startswith(reason)


def test_a_message_for_another_queue_has_a_reason() -> None:
    body = body_of(check())

    assert diagnosis.rejection_reason(channel("balance_checker"), body) is None
    assert diagnosis.rejection_reason(channel("order_topic"), body) is None
    assert (
        diagnosis.rejection_reason(channel("ship_order"), body)
        == "order.check is not for this queue, which takes order.ship"
    )


@pytest.mark.parametrize(
    ("dead", "reason"),
    [
        (
            {"eventID": "1", "eventSourceARN": "arn", "keys": {"customerId": "a"}, "sequenceNumber": "7"},
            "the item with customerId a can't be read",
        ),
        (
            {
                "requestContext": {"condition": "RetryAttemptsExhausted"},
                "DDBStreamBatchInfo": {
                    "batchSize": 3,
                    "approximateArrivalOfFirstRecord": "2026-11-20T10:00:00Z",
                },
            },
            "3 changes since 2026-11-20T10:00:00Z were dropped (RetryAttemptsExhausted)",
        ),
        ("nonsense", "it is not a record of a failed stream batch"),
        ({}, "it is not a record of a failed stream batch"),
    ],
)
def test_a_failed_stream_batch_is_described(dead: Any, reason: str) -> None:
    body = dead if isinstance(dead, str) else json.dumps(dead)
    assert diagnosis.stream_failure(body).startswith(reason)
