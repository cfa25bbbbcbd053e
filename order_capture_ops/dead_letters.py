"""Dead letters: what lies in a dead-letter queue, and moving it back to where it came from."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.application.messages import order_id_of
from order_capture.domain.errors import InvalidMessageError
from order_capture_ops.stack import Stack, StackError

BATCH = 10  # what SQS hands out, and takes, in one call
BATCH_BYTES = 200_000  # it takes 256 KiB, attributes included; above this, messages are sent one by one
# A poll that does not wait asks some of SQS's servers only, and may find nothing where there is something.
WAIT_SECONDS = 1
# A batch is moved in a second; it is also how long a tool that was killed keeps messages from others.
HIDDEN_SECONDS = 60

# SNS adds them to what it could not deliver; an SQS message has room for ten attributes in all.
_ADDED_BY_SNS = {"RequestID", "ErrorCode", "ErrorMessage"}

_DLQ_URL = re.compile(r"(\w+)DlqUrl")

Tick = Callable[[int], None]


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead-letter queue of the stack, and the queues that its messages go back to.

    Several of them behind a topic: what SNS could not deliver does not say to whom. All subscribers get it
    then, which does no harm, since none of them does anything twice.
    """

    name: str
    url: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Letter:
    """A dead letter. Type and order are None where it is no message of ours."""

    queue: str
    message_id: str
    type: str | None
    order_id: str | None
    age: float
    receives: int
    body: str

    @property
    def is_ours(self) -> bool:
        """Whether it is a message of ours."""
        return self.type is not None


@dataclass
class Moved:
    """What became of the letters of a queue."""

    moved: int = 0
    not_ours: int = 0
    failed: int = 0


def all_queues(stack: Stack) -> list[DeadLetterQueue]:
    """The stack's dead-letter queues, found by their outputs: `<Name>DlqUrl` belongs to `<Name>QueueUrl`.

    Or to the topic `<Name>Arn`; then its subscribers are the targets. One with neither holds no messages that
    could be moved back (change_publisher's has places in the table's stream), and has no targets.
    """
    found = []
    for output, url in sorted(stack.outputs.items()):
        if match := _DLQ_URL.fullmatch(output):
            name = match[1]
            targets: tuple[str, ...] = ()
            if target := stack.outputs.get(f"{name}QueueUrl"):
                targets = (target,)
            elif topic := stack.outputs.get(f"{name}Arn"):
                targets = _subscribed(stack, topic)
            found.append(DeadLetterQueue(f"{name}Dlq", url, targets))
    return found


def queues(stack: Stack) -> list[DeadLetterQueue]:
    """Those of the stack's dead-letter queues whose messages can be moved back."""
    return [dlq for dlq in all_queues(stack) if dlq.targets]


def queue(stack: Stack, name: str) -> DeadLetterQueue:
    """The dead-letter queue of that name: OrderUpdateDlq, OrderUpdateQueue, OrderUpdate, order_update, …

    Raises:
        StackError: there is none.
    """
    known = queues(stack)
    for each in known:
        if _plain(each.name) == _plain(name):
            return each
    names = ", ".join(each.name for each in known)
    raise StackError(
        f"No dead-letter queue {name} has messages that could be moved back.\nThere are: {names}"
    )


def count(sqs: Any, dlq: DeadLetterQueue) -> int:
    """About how many letters there are."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = sqs.get_queue_attributes(QueueUrl=dlq.url, AttributeNames=names)
    return sum(int(answer["Attributes"][name]) for name in names)


def peek(
    sqs: Any, dlq: DeadLetterQueue, limit: int | None = None, tick: Tick = lambda _: None
) -> list[Letter]:
    """What lies in the queue, left there. SQS counts it as received once more, all the same."""
    letters: list[Letter] = []
    with contextlib.closing(_received(sqs, dlq, {})) as batches:
        for batch in batches:
            letters += (_letter(dlq, message) for message in batch)
            tick(len(batch))
            if limit is not None and len(letters) >= limit:
                break
    return letters[:limit]


def redrive(
    sqs: Any,
    dlq: DeadLetterQueue,
    *,
    rate: float | None = None,
    limit: int | None = None,
    force: bool = False,
    tick: Tick = lambda _: None,
) -> Moved:
    """Move the letters of a queue back to where they came from, with their bodies and attributes.

    A letter is sent to its queue before it is deleted: whatever happens in between, it is in one of them, and
    being in both does no harm. What fails again while this runs is not moved a second time.

    Args:
        sqs: a client.
        dlq: the queue.
        rate: letters a second, at most.
        limit: letters in all, at most.
        force: moves what is no message of ours as well.
        tick: is told how many more were moved.
    """
    result = Moved()
    hidden: dict[str, str] = {}
    sent: set[str] = set()  # the ids that our own sending gave: what comes with one of them has failed again
    size = BATCH if rate is None else max(1, int(min(BATCH, rate)))
    started = time.monotonic()
    with contextlib.closing(_received(sqs, dlq, hidden, size)) as batches:
        for batch in batches:
            first_time = [message for message in batch if message["MessageId"] not in sent]
            ours = [message for message in first_time if force or _letter(dlq, message).is_ours]
            result.not_ours += len(first_time) - len(ours)
            to_move = ours if limit is None else ours[: limit - result.moved]
            moved = _send(sqs, dlq, to_move, sent)
            for message in _deleted(sqs, dlq, moved):
                del hidden[message["MessageId"]]
            result.moved += len(moved)
            result.failed += len(to_move) - len(moved)
            tick(len(moved))
            if result.moved == limit:
                break
            if rate is not None:
                time.sleep(max(0.0, started + result.moved / rate - time.monotonic()))
    return result


def _received(
    sqs: Any, dlq: DeadLetterQueue, hidden: dict[str, str], size: int = BATCH
) -> Generator[list[dict[str, Any]], None, None]:
    """All that lies in the queue, in batches, each message once.

    `hidden` is filled with the receipts of what was received, by message id; what is still in it at the end
    is made visible again at once.
    """
    try:
        while True:
            received = sqs.receive_message(
                QueueUrl=dlq.url,
                MaxNumberOfMessages=size,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            new = [message for message in received if message["MessageId"] not in hidden]
            hidden.update({message["MessageId"]: message["ReceiptHandle"] for message in received})
            if not received:
                return
            # What was seen before comes again after HIDDEN_SECONDS, and there may be more behind it.
            if new:
                yield new
    finally:
        receipts = list(hidden.values())
        for batch in (receipts[start : start + BATCH] for start in range(0, len(receipts), BATCH)):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(batch)
            ]
            sqs.change_message_visibility_batch(QueueUrl=dlq.url, Entries=entries)


def _send(
    sqs: Any, dlq: DeadLetterQueue, messages: list[dict[str, Any]], sent: set[str]
) -> list[dict[str, Any]]:
    """Send messages to every target of the queue; returns those that all of them took."""
    is_small = sum(len(message["Body"].encode()) for message in messages) <= BATCH_BYTES
    batches = [messages] if is_small else [[message] for message in messages]
    taken = []
    for batch in filter(None, batches):
        entries = [
            {"Id": str(number), "MessageBody": message["Body"], "MessageAttributes": _attributes(message)}
            for number, message in enumerate(batch)
        ]
        missing = set()
        for target in dlq.targets:
            answer = sqs.send_message_batch(QueueUrl=target, Entries=entries)
            sent.update(each["MessageId"] for each in answer.get("Successful", []))
            # A batch may fail in part, with HTTP 200.
            missing |= {each["Id"] for each in answer.get("Failed", [])}
        taken += [message for number, message in enumerate(batch) if str(number) not in missing]
    return taken


def _deleted(sqs: Any, dlq: DeadLetterQueue, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Delete messages; returns those that are gone. The next run moves the others again, harmlessly."""
    if not messages:
        return []
    entries = [
        {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
        for number, message in enumerate(messages)
    ]
    answer = sqs.delete_message_batch(QueueUrl=dlq.url, Entries=entries)
    return [messages[int(each["Id"])] for each in answer.get("Successful", [])]


def _attributes(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value[key] for key in ("DataType", "StringValue", "BinaryValue") if key in value}
        for name, value in message.get("MessageAttributes", {}).items()
        if name not in _ADDED_BY_SNS
    }


def _letter(dlq: DeadLetterQueue, message: dict[str, Any]) -> Letter:
    kind: str | None = None
    order_id: str | None = None
    with contextlib.suppress(InvalidMessageError):
        order_id = order_id_of(envelopes.decode(message["Body"]))
        kind = str(decimal_json.loads(message["Body"])["type"])
    return Letter(
        dlq.name,
        message["MessageId"],
        kind,
        order_id,
        time.time() - int(message["Attributes"]["SentTimestamp"]) / 1000,
        int(message["Attributes"]["ApproximateReceiveCount"]),
        message["Body"],
    )


def _subscribed(stack: Stack, topic: str) -> tuple[str, ...]:
    sqs, pages = stack.client("sqs"), stack.client("sns").get_paginator("list_subscriptions_by_topic")
    arns = [
        each["Endpoint"]
        for page in pages.paginate(TopicArn=topic)
        for each in page["Subscriptions"]
        if each["Protocol"] == "sqs"
    ]
    return tuple(sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"] for arn in arns)


def _plain(name: str) -> str:
    """A queue's name as it is compared: order_update, OrderUpdateDlq and OrderUpdateQueue are the same."""
    return re.sub(r"(dlq|queue)$", "", re.sub(r"[^a-z0-9]", "", name.lower()))
