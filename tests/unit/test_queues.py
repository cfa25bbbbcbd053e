"""SQS batches in, the list of messages to retry out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import botocore.exceptions
import pytest

from order_capture.entrypoints.sqs import RETRY_SECONDS, SOON_RECEIVES, queue_handler, record_handler
from order_capture.adapters import aws_clients, system, time_budget
from order_capture.application.messages import CheckOrder, OrderChecked, Received, ReleaseOrder
from order_capture.domain.errors import TransientError
from tests.support.factories import body_of, check, checked, details_of, queue_event, release, ship


def failed(event: dict[str, Any], answer: set[str] | Exception, *accepted: type[Received]) -> list[str]:
    """The messages that a function reports as failed if its use case returns or raises `answer`."""
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


class TestRecordByRecord:
    def handle(self, event: dict[str, Any], errors: dict[str, Exception]) -> tuple[list[str], list[str]]:
        """The messages that are reported, and the orders that were processed, if these raise."""
        processed: list[str] = []

        def process(message: CheckOrder) -> None:
            processed.append(message.order_id)
            if error := errors.get(message.order_id):
                raise error

        report = record_handler(process, CheckOrder, prepare=list)(event, None)
        return [failure["itemIdentifier"] for failure in report["batchItemFailures"]], processed

    def test_what_cannot_be_read_or_fails_is_reported_and_the_others_are_done(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = queue_event(*map(a_check, ("order-1", "order-2", "order-3")), "{", body_of(ship()))
        errors = {"order-1": TransientError("not yet"), "order-2": RuntimeError("no table")}

        with caplog.at_level(logging.WARNING, logger="order_capture"):
            failures, processed = self.handle(event, errors)

        assert failures == ["message-0", "message-1", "message-3", "message-4"]
        assert processed == ["order-1", "order-2", "order-3"]
        logged = {record.__dict__.get("message_id"): record.levelname for record in caplog.records}
        assert logged == {
            "message-0": "WARNING",
            "message-1": "ERROR",
            "message-3": "ERROR",
            "message-4": "ERROR",
        }
        orders = [record.__dict__["order_ids"] for record in caplog.records if "order_ids" in record.__dict__]
        assert orders == [["order-1"], ["order-2"]]

    def test_a_batch_that_failed_whole_is_reported_and_raises_nothing(self) -> None:
        event = queue_event(a_check("order-1"), a_check("order-2"))

        failures, _ = self.handle(event, dict.fromkeys(("order-1", "order-2"), RuntimeError("no table")))

        assert failures == ["message-0", "message-1"]

    def test_nothing_of_a_batch_is_reported_with_the_next(self) -> None:
        def process(message: CheckOrder) -> None:
            if message.order_id == "order-1":
                raise TransientError("not yet")

        handler = record_handler(process, CheckOrder, prepare=list)

        first, second = (handler(queue_event(a_check(each)), None) for each in ("order-1", "order-2"))

        assert (len(first["batchItemFailures"]), second["batchItemFailures"]) == (1, [])


class Queue:
    """The part of SQS that a function needs to return messages to its queue."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.calls: list[dict[str, Any]] = []

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(arguments)
        if self._error:
            raise self._error
        return {"Successful": []}

    def delays(self) -> dict[str, int]:
        """The seconds until messages return, by receipt."""
        return {
            entry["ReceiptHandle"]: entry["VisibilityTimeout"]
            for call in self.calls
            for entry in call["Entries"]
        }


class TestRetryingSoon:
    def handle(
        self,
        monkeypatch: pytest.MonkeyPatch,
        event: dict[str, Any],
        failing: set[str],
        queue: Queue,
        *,
        soon: bool = True,
        fraction: float = 0.5,
    ) -> list[str]:
        monkeypatch.setattr(aws_clients, "client", lambda _service: queue)
        monkeypatch.setattr(system, "random_fraction", lambda: fraction)
        monkeypatch.setenv("QUEUE_URL", "the-queue")
        report = queue_handler(lambda _messages: failing, CheckOrder, retry_soon=soon)(event, None)
        return [failure["itemIdentifier"] for failure in report["batchItemFailures"]]

    @pytest.mark.parametrize(("fraction", "seconds"), [(0.0, 1), (0.5, 3), (0.999, RETRY_SECONDS)])
    def test_a_failed_message_comes_again_after_a_few_seconds_and_the_others_are_done(
        self, monkeypatch: pytest.MonkeyPatch, fraction: float, seconds: int
    ) -> None:
        queue, event = Queue(), queue_event(a_check("order-1"), a_check("order-2"), a_check("order-3"))

        failures = self.handle(monkeypatch, event, {"order-1", "order-3"}, queue, fraction=fraction)

        assert failures == ["message-0", "message-2"]
        assert queue.delays() == {"receipt-0": seconds, "receipt-2": seconds}
        assert [call["QueueUrl"] for call in queue.calls] == ["the-queue"]
        ids = [entry["Id"] for call in queue.calls for entry in call["Entries"]]
        assert len(ids) == len(set(ids))

    @pytest.mark.parametrize(("receives", "soon"), [(1, 1), (SOON_RECEIVES, 1), (SOON_RECEIVES + 1, 0)])
    def test_what_has_failed_often_waits_for_the_queue(
        self, monkeypatch: pytest.MonkeyPatch, receives: int, soon: int
    ) -> None:
        queue, event = Queue(), queue_event(a_check("order-1"), receives=receives)

        assert self.handle(monkeypatch, event, {"order-1"}, queue) == ["message-0"]

        assert len(queue.delays()) == soon

    def test_what_can_not_be_read_comes_again_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = Queue()

        failures = self.handle(monkeypatch, queue_event(a_check("order-1"), "{"), set(), queue)

        assert failures == ["message-1"]
        assert queue.delays().keys() == {"receipt-1"}

    def test_nothing_is_called_where_nothing_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = Queue()

        assert self.handle(monkeypatch, queue_event(a_check("order-1")), set(), queue) == []

        assert queue.calls == []

    def test_a_function_that_does_not_ask_for_it_leaves_it_to_the_queue(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = Queue()

        self.handle(monkeypatch, queue_event(a_check("order-1")), {"order-1"}, queue, soon=False)

        assert queue.calls == []

    def test_it_is_left_to_the_queue_where_there_is_no_time_left(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = Queue()
        monkeypatch.setattr(time_budget, "has_time_left", lambda: False)

        failures = self.handle(monkeypatch, queue_event(a_check("order-1")), {"order-1"}, queue)

        assert (failures, queue.calls) == (["message-0"], [])

    @pytest.mark.parametrize(
        "error",
        [
            botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "Operation"),
            botocore.exceptions.EndpointConnectionError(endpoint_url="https://sqs"),
        ],
    )
    def test_a_queue_that_refuses_is_logged_and_the_messages_are_reported_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        event = queue_event(a_check("order-1"))

        with caplog.at_level(logging.WARNING, logger="order_capture"):
            assert self.handle(monkeypatch, event, {"order-1"}, Queue(error)) == ["message-0"]

        assert any("retried only after" in record.getMessage() for record in caplog.records)
