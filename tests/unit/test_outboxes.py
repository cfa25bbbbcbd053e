"""Messages are sent ten at a time; partial failures of a call are never ignored."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters.messaging.publishers import (
    BATCH_BYTES,
    SEND_ATTEMPTS,
    EnvelopeFactory,
    QueuePublisher,
    TopicPublisher,
)
from order_capture.application.messages import (
    CheckOrder,
    DeliverWebhook,
    Message,
    OrderChecked,
    OrderEventMessage,
    group_of,
)
from order_capture.domain.errors import RejectedMessagesError, TransientError
from order_capture.domain.events import OrderEvent
from order_capture.domain.order import MAX_TOTAL, CheckType
from tests.support.factories import (
    NOW,
    body_of,
    check,
    checked,
    delivery_of,
    details_of,
    held,
    placed,
    release,
    ship,
    watch,
)
from tests.support.fakes import RecordedBackoff


class Aws:
    """The batch calls of SNS and SQS. `failing` has the failing positions of each call."""

    def __init__(self, *failing: Sequence[int] | Exception) -> None:
        self._failing = list(failing)
        self.calls: list[list[dict[str, Any]]] = []
        self.addressed: set[str] = set()
        self.code = "InternalError"

    def publish_batch(self, TopicArn: str, PublishBatchRequestEntries: list[Any]) -> dict[str, Any]:  # noqa: N803
        return self._take(TopicArn, PublishBatchRequestEntries)

    def send_message_batch(self, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
        return self._take(QueueUrl, Entries)

    def _take(self, address: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.addressed.add(address)
        self.calls.append(entries)
        fails = self._failing.pop(0) if self._failing else ()
        if isinstance(fails, Exception):
            raise fails
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for position, entry in enumerate(entries):
            if position in fails:
                answer["Failed"].append({"Id": entry["Id"], "Code": self.code, "SenderFault": False})
            else:
                answer["Successful"].append({"Id": entry["Id"], "MessageId": "m"})
        if not answer["Failed"]:
            del answer["Failed"]  # botocore leaves out what is empty
        return answer

    def orders_of(self, call: int) -> list[str]:
        bodies = (json.loads(entry.get("Message") or entry["MessageBody"]) for entry in self.calls[call])
        return [body["subject"] for body in bodies]


def send(aws: Aws, messages: Sequence[Message]) -> tuple[set[str], RecordedBackoff]:
    backoff = RecordedBackoff()
    ids = itertools.count()
    sender = EnvelopeFactory("/order-capture/test", lambda: f"m-{next(ids)}", lambda: NOW, backoff)
    return TopicPublisher(aws, "topic", sender).send(messages), backoff


def checks(number: int) -> list[Message]:
    return [check(details_of(f"order-{i}")) for i in range(number)]


def test_a_topic_gets_the_message_with_its_type_and_version_for_filters() -> None:
    aws = Aws()

    assert send(aws, checks(1))[0] == set()

    ((entry,),) = aws.calls
    assert aws.addressed == {"topic"}
    assert json.loads(entry["Message"])["type"] == "order.check"
    assert entry["MessageAttributes"] == {
        "type": {"DataType": "String", "StringValue": "order.check"},
        "version": {"DataType": "String", "StringValue": "1"},
    }


def test_an_event_is_marked_for_those_who_do_not_want_it() -> None:
    # given
    aws = Aws()
    event = OrderEventMessage(OrderEvent(placed()), for_webhooks=False, for_connections=True)
    # when
    assert send(aws, [event])[0] == set()
    # then
    ((entry,),) = aws.calls
    assert entry["MessageAttributes"] == {
        "type": {"DataType": "String", "StringValue": "order.placed"},
        "version": {"DataType": "String", "StringValue": "1"},
        "noWebhooks": {"DataType": "String", "StringValue": "true"},
    }


def test_a_queue_gets_the_message_too() -> None:
    aws = Aws()

    QueuePublisher(
        aws, "queue", EnvelopeFactory("/order-capture/test", lambda: "m-1", lambda: NOW, RecordedBackoff())
    ).send([checked()])

    ((entry,),) = aws.calls
    assert aws.addressed == {"queue"}
    assert json.loads(entry["MessageBody"])["type"] == "order.checked"


def test_what_is_to_be_checked_later_is_kept_back_by_the_queue() -> None:
    aws = Aws()
    delivery = DeliverWebhook.of(delivery_of(), delay=7)

    QueuePublisher(
        aws, "queue", EnvelopeFactory("/order-capture/test", lambda: "m-1", lambda: NOW, RecordedBackoff())
    ).send([watch(delay=60), delivery, checked()])

    assert [entry.get("DelaySeconds") for entry in aws.calls[0]] == [60, 7, None]
    # and what several customers share a queue for is of a group each
    assert [entry.get("MessageGroupId") for entry in aws.calls[0]] == [None, "alice", None]


def test_nothing_to_send_is_no_call() -> None:
    aws = Aws()

    assert send(aws, [])[0] == set()
    assert aws.calls == []


@pytest.mark.parametrize(("number", "sizes"), [(10, [10]), (11, [10, 1]), (100, [10] * 10)])
def test_ten_go_in_one_call(number: int, sizes: list[int]) -> None:
    aws = Aws()

    send(aws, checks(number))

    assert [len(call) for call in aws.calls] == sizes
    assert [order for call in range(len(sizes)) for order in aws.orders_of(call)] == [
        f"order-{i}" for i in range(number)
    ]
    assert all(len({entry["Id"] for entry in call}) == len(call) for call in aws.calls)


def test_a_call_with_ten_of_the_largest_orders_is_within_the_256_kib_it_may_be() -> None:
    large = tuple((f"{i:064}", 100_000) for i in range(50))
    aws = Aws()

    send(aws, [check(details_of(f"order-{i}", items=large, unit_price=f"{MAX_TOTAL}")) for i in range(100)])

    assert sum(map(len, aws.calls)) == 100
    assert max(len(json.dumps(call).encode()) for call in aws.calls) < 256 * 1024


def test_what_failed_within_an_answered_call_is_sent_again_alone() -> None:
    aws = Aws([1, 3])

    failed, backoff = send(aws, checks(5))

    assert failed == set()
    assert aws.orders_of(1) == ["order-1", "order-3"]
    assert len(aws.calls) == 2
    assert backoff.after == [1]


def test_what_fails_to_the_end_is_reported_and_nothing_else() -> None:
    aws = Aws([0, 2], [0, 1], [1])

    failed, backoff = send(aws, checks(3))

    assert failed == {"order-2"}
    assert len(aws.calls) == SEND_ATTEMPTS
    assert backoff.after == [*range(1, SEND_ATTEMPTS)], "behind the last try nothing is waited for"


def test_a_failure_in_one_batch_does_not_stop_the_next() -> None:
    aws = Aws([0], [0], [0])

    assert send(aws, checks(20))[0] == {"order-0"}
    assert len(aws.orders_of(SEND_ATTEMPTS)) == 10


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.EndpointConnectionError(endpoint_url="https://sns"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="https://sns"),
        botocore.exceptions.ClientError({"Error": {"Code": "Throttling"}}, "PublishBatch"),
        TransientError("no time is left for a call to AWS"),
    ],
)
def test_what_can_not_be_reached_is_reported_and_not_asked_again_for_the_rest(error: Exception) -> None:
    aws = Aws((), error)

    failed, _ = send(aws, checks(30))

    assert failed == {f"order-{i}" for i in range(10, 30)}
    assert len(aws.calls) == 2


def test_what_breaks_while_a_rest_is_sent_again_leaves_only_that_rest_unsent() -> None:
    aws = Aws([4], botocore.exceptions.EndpointConnectionError(endpoint_url="https://sns"))

    assert send(aws, checks(10))[0] == {"order-4"}


def outbox(aws: Any) -> TopicPublisher:
    return TopicPublisher(
        aws, "topic", EnvelopeFactory("/order-capture/test", lambda: "m-1", lambda: NOW, RecordedBackoff())
    )


def large(number: int, kilobytes: int) -> CheckOrder:
    return CheckOrder.of(details_of(f"order-{number}"), "x" * kilobytes * 1024)


def test_no_call_has_more_bytes_than_it_may_have() -> None:
    aws = Aws()

    assert outbox(aws).send([large(number, 100) for number in range(5)]) == set()

    assert [aws.orders_of(call) for call in range(3)] == [
        ["order-0", "order-1"],
        ["order-2", "order-3"],
        ["order-4"],
    ]
    assert all(entry["Id"] in "01" for call in aws.calls for entry in call)


def test_a_message_that_is_too_large_is_refused_alone_and_never_tried() -> None:
    aws = Aws()

    assert outbox(aws).send([large(1, 1), large(2, 256), large(3, 1)]) == {"order-2"}

    assert aws.orders_of(0) == ["order-1", "order-3"]
    assert len(aws.calls) == 1


def test_the_largest_that_may_be_sent_is() -> None:
    aws = Aws()
    room = BATCH_BYTES - sum(map(len, ("type", "String", "order.check", "version", "String", "1")))
    message = large(1, 1)
    outbox(aws).send([message])
    more = room - len(aws.calls[0][0]["Message"].encode())

    fits = CheckOrder.of(message.details, message.correlation_id + "x" * more)
    does_not = CheckOrder.of(message.details, fits.correlation_id + "x")

    assert outbox(Aws()).send([fits]) == set()
    assert outbox(Aws()).send([does_not]) == {"order-1"}


def test_a_message_that_can_not_be_written_is_refused_alone() -> None:
    aws = Aws()
    broken = CheckOrder.of(details_of("order-2"), object())  # type: ignore[arg-type]

    assert outbox(aws).send([*checks(2), broken]) == {"order-2"}

    assert aws.orders_of(0) == ["order-0", "order-1"]


def test_an_entry_that_is_refused_for_what_is_in_it_is_not_sent_again() -> None:
    aws = Aws([1])
    aws.code = "InvalidParameterValue"

    assert outbox(aws).send(checks(3)) == {"order-1"}

    assert len(aws.calls) == 1


class Picky(Aws):
    """Refuses a whole call for one order in it, as SNS does for an invalid parameter."""

    def _take(self, address: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
        answer = super()._take(address, entries)
        if "order-3" in self.orders_of(-1):
            raise botocore.exceptions.ClientError({"Error": {"Code": "InvalidParameter"}}, "PublishBatch")
        return answer


def test_where_a_call_is_refused_as_a_whole_the_others_in_it_are_sent() -> None:
    aws = Picky()

    assert outbox(aws).send(checks(12)) == {"order-3"}

    alone = {aws.orders_of(call)[0] for call in range(1, len(aws.calls)) if len(aws.calls[call]) == 1}
    assert alone == {f"order-{number}" for number in range(10)}
    assert aws.orders_of(-1) == ["order-10", "order-11"]


def test_who_wants_all_to_be_sent_learns_whether_it_is_of_any_use_to_try_again() -> None:
    outbox(Aws()).send_all(checks(1))
    with pytest.raises(TransientError):
        outbox(Aws([0], [0], [0])).send_all([large(1, 1), large(2, 256)])
    with pytest.raises(RejectedMessagesError) as refused:
        outbox(Aws()).send_all([large(1, 1), large(2, 256)])
    assert refused.value.subjects == ["order-2"]


@pytest.mark.parametrize("message", [check(), release(), ship()])
def test_orders_of_one_product_are_one_group_among_those_of_their_queue(message: Message) -> None:
    assert group_of(message) == "pen"


def test_the_result_of_a_check_is_of_the_group_of_its_order_which_does_not_travel() -> None:
    result = OrderChecked.of("order-1", CheckType.BALANCE, held(), "c-1", "pen")

    assert group_of(result) == "pen"
    assert "pen" not in body_of(result)
