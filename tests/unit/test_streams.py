"""DynamoDB stream batches in: the changes of orders or ledgers are decoded, all or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import botocore.exceptions
import pytest

from order_capture import config
from order_capture.adapters import aws_clients
from order_capture.adapters.dynamodb.order_repository import to_order_item
from order_capture.adapters.dynamodb.types import to_item
from order_capture.application.messages import BalanceState
from order_capture.application.orders.publish_order_events import OrderChange
from order_capture.domain.errors import RejectedMessagesError, TransientError
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance, LedgerSpec
from order_capture.domain.order import CheckType, Order
from order_capture.entrypoints.dynamodb_streams import ledger_stream_handler, stream_handler
from order_capture.entrypoints.history_streams import history_stream_handler
from order_capture.entrypoints.invocations import InvocationFailedError
from tests.support.factories import NOW, declined, details_of, lambda_context, placed

ONE, TWO = placed(details_of("order-1")), placed(details_of("order-2"))
REJECTED = ONE.record_check(CheckType.STOCK, declined(), now=NOW)


class DeadLetters:
    """An SQS queue for dead letters, which may refuse them."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.takes = True

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803
        assert QueueUrl == "the-dead-letters"
        if not self.takes:
            raise TransientError("no dead letters")
        self.messages.append(json.loads(MessageBody))


@pytest.fixture
def dead_letters(monkeypatch: pytest.MonkeyPatch) -> DeadLetters:
    queue = DeadLetters()
    monkeypatch.setattr(aws_clients, "client", {"sqs": queue}.__getitem__)
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", "the-dead-letters")
    return queue


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


@pytest.mark.parametrize("images", [{}, {"OldImage": record(REJECTED)["dynamodb"]["NewImage"]}])
def test_an_order_that_is_deleted_is_no_change(images: dict[str, Any]) -> None:
    removed = {"eventName": "REMOVE", "dynamodb": {"Keys": {"orderId": {"S": "order-1"}}, **images}}
    assert handled(removed) == []


def test_the_record_of_a_request_is_no_order() -> None:
    image = to_item({"orderId": "request-1", "fingerprint": "print-1"})
    request = {"eventName": "INSERT", "dynamodb": {"NewImage": image}}
    finished = {"eventName": "MODIFY", "dynamodb": {"NewImage": image, "OldImage": image}}

    assert handled(request, record(ONE), finished) == [[(None, ONE)]]


PASSING = [
    TransientError("SNS is away"),
    config.MissingSettingError("not deployed as it should be"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="https://sns"),
    botocore.exceptions.ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem"),
    botocore.exceptions.ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutItem"),
    botocore.exceptions.ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutItem"),
]
LASTING = [
    ValueError("a mistake of ours"),
    RejectedMessagesError({"order-1"}),
    botocore.exceptions.ClientError({"Error": {"Code": "ValidationException"}}, "BatchWriteItem"),
    botocore.exceptions.ParamValidationError(report="x"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_fails_for_a_passing_reason_comes_again_as_a_whole(
    dead_letters: DeadLetters, error: Exception
) -> None:
    tried: list[int] = []

    def work(changes: Sequence[OrderChange]) -> None:
        tried.append(len(changes))
        raise error

    with pytest.raises(InvocationFailedError, match=type(error).__name__):
        stream_handler(work)({"Records": [record(ONE), record(TWO)]}, None)

    assert tried == [2]
    assert dead_letters.messages == []


def numbered(number: int) -> dict[str, Any]:
    return placed_in_the_stream(record(placed(details_of(f"order-{number}"))), number)


def placed_in_the_stream(each: dict[str, Any], number: int = 42) -> dict[str, Any]:
    images = each["dynamodb"] | {"SequenceNumber": str(number)}
    return each | {"eventID": f"event-{number}", "eventSourceARN": "the-stream", "dynamodb": images}


@pytest.mark.parametrize("error", LASTING, ids=repr)
@pytest.mark.parametrize("at_fault", [{0}, {99}, {3, 4, 50}, set(range(100))])
def test_records_that_fail_for_good_are_found_and_all_others_are_done(
    dead_letters: DeadLetters, at_fault: set[int], error: Exception
) -> None:
    done: set[str] = set()

    def work(changes: Sequence[OrderChange]) -> None:
        ids = {after.order_id for _, after in changes}
        if ids & {f"order-{number}" for number in at_fault}:
            raise error
        done.update(ids)

    assert stream_handler(work)({"Records": [numbered(number) for number in range(100)]}, None) == {}

    assert done == {f"order-{number}" for number in {*range(100)} - at_fault}
    assert dead_letters.messages == [
        {
            "eventID": f"event-{number}",
            "eventSourceARN": "the-stream",
            "keys": {"orderId": f"order-{number}"},
            "sequenceNumber": str(number),
            "error": type(error).__name__,
        }
        for number in sorted(at_fault)
    ]


def test_nothing_is_given_up_while_others_of_its_batch_may_come_again(dead_letters: DeadLetters) -> None:
    def work(changes: Sequence[OrderChange]) -> None:
        if any(after.order_id == "order-1" for _, after in changes):
            raise ValueError
        raise TransientError("SNS is away by now")

    with pytest.raises(InvocationFailedError, match="SNS is away"):
        stream_handler(work)({"Records": [numbered(1), numbered(2)]}, None)

    assert dead_letters.messages == []


def test_a_function_that_runs_out_of_time_has_its_batch_come_again(dead_letters: DeadLetters) -> None:
    works: list[Sequence[OrderChange]] = []
    context = lambda_context(1)

    with pytest.raises(InvocationFailedError, match="no time"):
        stream_handler(works.append)({"Records": [numbered(1)]}, context)

    assert works == []


def head(key: str, entity: str, **more: Any) -> dict[str, Any]:
    keys = to_item({key: entity, "entry": "BALANCE"})
    values = {
        "balance": Decimal(5),
        "held": Decimal(1),
        "settled": Decimal(2),
        "version": 7,
        "updateTime": NOW,
    }
    return {"eventName": "MODIFY", "dynamodb": {"Keys": keys, "NewImage": keys | to_item(values | more)}}


def states(*records: dict[str, Any]) -> list[list[BalanceState]]:
    """What `work` was called with, each time."""
    calls: list[list[BalanceState]] = []

    def work(found: Sequence[BalanceState]) -> None:
        calls.append(list(found))

    assert ledger_stream_handler(work)({"Records": list(records)}, None) == {}
    return calls


@pytest.mark.parametrize(("key", "kind"), [("customerId", ACCOUNTS), ("productId", STOCK)])
def test_each_head_is_handed_over_as_it_stands(key: str, kind: LedgerSpec) -> None:
    figures = Decimal(5), Decimal(1), Decimal(2)

    assert states(head(key, "one"), head(key, "two", deleted=1)) == [
        [
            BalanceState(kind, "one", Balance(*figures, version=7, update_time=NOW)),
            BalanceState(kind, "two", Balance(*figures, version=7, update_time=NOW, deleted=True)),
        ]
    ]


def test_an_attribute_of_a_later_release_is_passed_over() -> None:
    assert states(head("productId", "pen", later=1)) == states(head("productId", "pen"))


def test_an_entry_is_no_state_and_neither_is_a_head_that_somebody_removed() -> None:
    removed = {"Keys": to_item({"productId": "pen", "entry": "BALANCE"})}
    entry = to_item({"productId": "pen", "entry": "HOLD#order-1"})

    assert states({"dynamodb": removed}, {"dynamodb": {"Keys": entry, "NewImage": entry}}) == []


def test_states_that_fail_come_again() -> None:
    def work(_: Sequence[BalanceState]) -> None:
        raise TransientError("no topic")

    with pytest.raises(InvocationFailedError, match="no topic"):
        ledger_stream_handler(work)({"Records": [head("productId", "pen")]}, None)


def unreadable(record: dict[str, Any], name: str, image: str = "NewImage") -> dict[str, Any]:
    """The record as if an attribute had been removed from the item by hand."""
    images = record["dynamodb"]
    less = {image: {key: value for key, value in images[image].items() if key != name}}
    return placed_in_the_stream(record | {"dynamodb": images | less})


class TestARecordThatCanNotBeRead:
    @pytest.mark.parametrize(
        ("handler", "bad", "good", "keys"),
        [
            (
                stream_handler,
                unreadable(record(ONE), "fingerprint"),
                record(TWO),
                {"orderId": "order-1"},
            ),
            (
                stream_handler,
                unreadable(record(REJECTED, ONE), "timeline", "OldImage"),
                record(TWO),
                {"orderId": "order-1"},
            ),
            (
                ledger_stream_handler,
                unreadable(head("productId", "pen"), "held"),
                head("productId", "ink"),
                {"productId": "pen", "entry": "BALANCE"},
            ),
            (
                history_stream_handler,
                unreadable(head("customerId", "alice"), "version"),
                head("customerId", "bob"),
                {"customerId": "alice", "entry": "BALANCE"},
            ),
        ],
    )
    def test_goes_to_the_dead_letters_and_holds_up_none_behind_it(
        self,
        dead_letters: DeadLetters,
        handler: Callable[..., Callable[[dict[str, Any], object], dict[str, Any]]],
        bad: dict[str, Any],
        good: dict[str, Any],
        keys: dict[str, str],
    ) -> None:
        works: list[Sequence[Any]] = []

        handler(lambda *found: works.append(found[-1]))({"Records": [bad, good]}, None)

        assert [len(found) for found in works] == [1]
        assert dead_letters.messages == [
            {
                "eventID": "event-42",
                "eventSourceARN": "the-stream",
                "keys": keys,
                "sequenceNumber": "42",
                "error": "UnreadableError",
            }
        ]

    def test_is_not_put_there_again_and_again_while_the_others_of_its_batch_fail(
        self, dead_letters: DeadLetters
    ) -> None:
        def work(_: Sequence[OrderChange]) -> None:
            raise TransientError("no topic")

        with pytest.raises(InvocationFailedError, match="no topic"):
            stream_handler(work)({"Records": [unreadable(record(ONE), "totalAmount"), record(TWO)]}, None)

        assert dead_letters.messages == []

    def test_comes_again_with_its_batch_if_it_can_not_be_put_there(self, dead_letters: DeadLetters) -> None:
        dead_letters.takes = False
        works: list[Sequence[OrderChange]] = []

        with pytest.raises(InvocationFailedError, match="no dead letters"):
            stream_handler(works.append)({"Records": [unreadable(record(ONE), "totalAmount")]}, None)

        assert works == []
