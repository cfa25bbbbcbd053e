"""SQS batches in, the list of those to be tried again out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from order_capture.entrypoints.sqs import queue_handler
from order_capture.application.messages import CheckOrder, OrderChecked, Received, ReleaseOrder
from tests.support.factories import body_of, check, checked, details_of, queue_event, release, ship


def failed(event: dict[str, Any], answer: set[str] | Exception, *accepted: type[Received]) -> list[str]:
    """The messages that a function reports whose use case answers or raises `answer`."""
    return _handle(event, answer, *accepted)[0]


def _handle(
    event: dict[str, Any], answer: set[str] | Exception, *accepted: type[Received]
) -> tuple[list[str], list[Received]]:
    worked_on: list[Received] = []

    def work(messages: Sequence[Received]) -> set[str]:
        worked_on.extend(messages)
        if isinstance(answer, Exception):
            raise answer
        return answer

    report = queue_handler(work, *(accepted or (CheckOrder,)))(event, None)
    return [failure["itemIdentifier"] for failure in report["batchItemFailures"]], worked_on


def a_check(order_id: str) -> str:
    return body_of(check(details_of(order_id)))


def test_a_batch_that_is_done_has_no_failures() -> None:
    failures, worked_on = _handle(queue_event(a_check("order-1"), a_check("order-2")), set())

    assert failures == []
    assert worked_on == [check(details_of("order-1")), check(details_of("order-2"))]


@pytest.mark.parametrize(
    "poison",
    [
        "",
        "{",
        "null",
        "[]",
        "[" * 100_000,
        body_of(check()).replace('"qty":1', '"qty":1e100000000'),
        body_of(check()).replace('"qty":1', '"qty":' + "9" * 100_000),
        body_of(check()).replace('"qty":1', '"qty":NaN'),
        body_of(check()).replace('"order-1"', "null"),
        '{"type":"order.check"}',
        body_of(check()).replace("order.check", "order.dance"),
        body_of(check()).replace(":1", ":2"),
        body_of(checked()),
    ],
    ids=lambda body: body[:40],
)
def test_a_message_that_is_not_ours_is_reported_alone(poison: str) -> None:
    failures, worked_on = _handle(queue_event(a_check("order-1"), poison, a_check("order-2")), set())

    assert failures == ["message-1"]
    assert [message.details.order_id for message in worked_on if isinstance(message, CheckOrder)] == [
        "order-1",
        "order-2",
    ]


def test_a_batch_of_nothing_that_is_ours_is_reported_whole_and_nothing_is_done() -> None:
    failures, worked_on = _handle(queue_event("{", "}"), RuntimeError("not called"))

    assert failures == ["message-0", "message-1"]
    assert worked_on == []


def test_a_message_for_another_queue_is_reported() -> None:
    assert failed(queue_event(body_of(ship())), set(), CheckOrder, ReleaseOrder) == ["message-0"]
    assert failed(queue_event(body_of(release())), set(), CheckOrder, ReleaseOrder) == []
    assert failed(queue_event(body_of(checked())), set(), OrderChecked) == []


def test_every_message_of_an_order_that_failed_is_reported_and_no_other() -> None:
    event = queue_event(a_check("order-1"), a_check("order-2"), a_check("order-1"))

    assert failed(event, {"order-1"}) == ["message-0", "message-2"]


def test_if_the_use_case_breaks_all_its_messages_are_reported() -> None:
    event = queue_event(a_check("order-1"), "{", a_check("order-2"))

    assert sorted(failed(event, RuntimeError("no table"))) == ["message-0", "message-1", "message-2"]


def test_what_goes_wrong_is_logged_with_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="order_capture"):
        failed(queue_event(a_check("order-1"), "{"), RuntimeError("no table"))

    logged = [(record.levelname, record.__dict__.get("order_ids")) for record in caplog.records]
    assert ("ERROR", ["order-1"]) in logged
    assert any(record.__dict__.get("message_id") == "message-1" for record in caplog.records)
