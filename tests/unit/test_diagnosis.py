"""Why a message is among the dead letters is said in words, and names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture_ops import diagnosis
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
def test_a_message_that_no_function_can_read(body: str, reason: str) -> None:
    assert (diagnosis.refusal("BalanceCheckerDlq", body) or "").startswith(reason)


def test_one_that_is_for_another_queue() -> None:
    body = body_of(check())

    assert diagnosis.refusal("BalanceCheckerDlq", body) is None
    assert diagnosis.refusal("OrderTopicDlq", body) is None
    assert (
        diagnosis.refusal("ShipOrderDlq", body) == "order.check is not for this queue, which takes order.ship"
    )


@pytest.mark.parametrize(
    ("letter", "reason"),
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
            "3 changes since 2026-11-20T10:00:00Z were given up (RetryAttemptsExhausted)",
        ),
        ("nonsense", "it is not a letter of a stream's function"),
        ({}, "it is not a letter of a stream's function"),
    ],
)
def test_what_a_letter_of_a_stream_stands_for(letter: Any, reason: str) -> None:
    body = letter if isinstance(letter, str) else json.dumps(letter)
    assert diagnosis.lost_place(body).startswith(reason)


def test_an_excerpt_is_one_line_and_steers_no_terminal() -> None:
    assert diagnosis.excerpt('{"a":\n  "\x1b[31m"}') == '{"a": " [31m"}'
    assert diagnosis.excerpt("x" * 1000) == "x" * 160 + "…"
