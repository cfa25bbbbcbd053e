"""Dead-letter queues: list their messages, and move these back to their source queues."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.domain.errors import InvalidMessageError
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack, StackError

BATCH = 10  # messages in one SQS call
BATCH_BYTES = 200_000  # SQS takes 256 KiB with attributes; above this, messages are sent one by one
# A short poll asks only some of SQS's servers, and may miss messages.
WAIT_SECONDS = 1
# Moving a batch takes a second. After a crash, messages stay invisible to others for this long.
VISIBILITY_SECONDS = 60

# SNS adds these to messages that it could not deliver; an SQS message has at most ten attributes.
_ADDED_BY_SNS = {"RequestID", "ErrorCode", "ErrorMessage"}

_DLQ_URL = re.compile(r"(\w+)DlqUrl")


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead-letter queue of the stack, and the queues that its messages go back to.

    A topic's has several: a message that SNS could not deliver does not name its subscriber, so all of them
    get it. This is harmless, since every subscriber is idempotent.
    """

    name: str
    url: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class DeadLetter:
    """A message in a dead-letter queue. Type and order are None for a foreign one."""

    queue: str
    message_id: str
    type: str | None
    order_id: str | None
    age: float
    receives: int
    body: str

    @property
    def is_foreign(self) -> bool:
        """Whether this application did not send it."""
        return self.type is None


@dataclass
class RedriveResult:
    """How many messages were moved, skipped as foreign, and not sent."""

    moved: int = 0
    foreign: int = 0
    failed: int = 0


def all_queues(stack: Stack) -> list[DeadLetterQueue]:
    """The stack's dead-letter queues, by its outputs: `<Name>DlqUrl` belongs to `<Name>QueueUrl`.

    Or to the topic `<Name>Arn`, whose subscribers are then the targets. A queue with neither has no targets:
    its messages can't be moved back (change_publisher's hold positions in the table's stream).
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
    """The stack's dead-letter queues whose messages can be moved back."""
    return [dlq for dlq in all_queues(stack) if dlq.targets]


def queue(stack: Stack, name: str) -> DeadLetterQueue:
    """The dead-letter queue of that name: OrderUpdateDlq, OrderUpdateQueue, OrderUpdate, order_update, …

    Raises:
        StackError: there is no such queue.
    """
    known = queues(stack)
    for each in known:
        if _normalized(each.name) == _normalized(name):
            return each
    names = ", ".join(each.name for each in known)
    raise StackError(f"{name} is not a dead-letter queue that can be redriven.\nThere are: {names}")


def count(sqs: Any, dlq: DeadLetterQueue) -> int:
    """About how many messages are in the queue."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    response = sqs.get_queue_attributes(QueueUrl=dlq.url, AttributeNames=names)
    return sum(int(response["Attributes"][name]) for name in names)


def peek(
    sqs: Any,
    dlq: DeadLetterQueue,
    limit: int | None = None,
    on_progress: ProgressCallback = lambda *_: None,
) -> list[DeadLetter]:
    """Read the messages of the queue and leave them there. SQS counts this as a receive."""
    found: list[DeadLetter] = []
    with contextlib.closing(_receive_all(sqs, dlq, {})) as batches:
        for batch in batches:
            found += (_dead_letter_from(dlq, message) for message in batch)
            on_progress(dlq.name, len(batch))
            if limit is not None and len(found) >= limit:
                break
    return found[:limit]


def redrive(
    sqs: Any,
    dlq: DeadLetterQueue,
    *,
    rate: float | None = None,
    limit: int | None = None,
    force: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
) -> RedriveResult:
    """Move the messages of a queue back to their source, with bodies and attributes.

    A message is sent before it is deleted. After a crash in between it is in both queues, which is harmless.
    A message that fails again meanwhile is not moved a second time.

    Args:
        sqs: a client.
        dlq: the queue.
        rate: at most this many messages a second.
        limit: at most this many messages in all.
        force: also move foreign messages.
        on_progress: is called with the number of messages moved.
    """
    result = RedriveResult()
    receipts: dict[str, str] = {}
    sent: set[str] = set()  # message ids of this run: one that comes back with such an id has failed again
    size = BATCH if rate is None else max(1, int(min(BATCH, rate)))
    started = time.monotonic()
    with contextlib.closing(_receive_all(sqs, dlq, receipts, size)) as batches:
        for batch in batches:
            new = [message for message in batch if message["MessageId"] not in sent]
            ours = [message for message in new if force or not _dead_letter_from(dlq, message).is_foreign]
            result.foreign += len(new) - len(ours)
            to_move = ours if limit is None else ours[: limit - result.moved]
            moved = _send(sqs, dlq, to_move, sent)
            for message in _delete(sqs, dlq, moved):
                del receipts[message["MessageId"]]
            result.moved += len(moved)
            result.failed += len(to_move) - len(moved)
            on_progress(dlq.name, len(moved))
            if result.moved == limit:
                break
            if rate is not None:
                time.sleep(max(0.0, started + result.moved / rate - time.monotonic()))
    return result


def _receive_all(
    sqs: Any, dlq: DeadLetterQueue, receipts: dict[str, str], size: int = BATCH
) -> Generator[list[dict[str, Any]], None, None]:
    """All messages of the queue, in batches, each message once.

    Adds the receipt handles to `receipts`, by message id. At the end, messages that are still in it are made
    visible again at once.
    """
    try:
        while True:
            received = sqs.receive_message(
                QueueUrl=dlq.url,
                MaxNumberOfMessages=size,
                VisibilityTimeout=VISIBILITY_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            new = [message for message in received if message["MessageId"] not in receipts]
            receipts.update({message["MessageId"]: message["ReceiptHandle"] for message in received})
            if not received:
                return
            # Messages from before become visible again after VISIBILITY_SECONDS; more may follow them.
            if new:
                yield new
    finally:
        left = list(receipts.values())
        for batch in (left[start : start + BATCH] for start in range(0, len(left), BATCH)):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(batch)
            ]
            sqs.change_message_visibility_batch(QueueUrl=dlq.url, Entries=entries)


def _send(
    sqs: Any, dlq: DeadLetterQueue, messages: list[dict[str, Any]], sent: set[str]
) -> list[dict[str, Any]]:
    """Send messages to every target of the queue; returns those that all targets accepted."""
    is_small = sum(len(message["Body"].encode()) for message in messages) <= BATCH_BYTES
    batches = [messages] if is_small else [[message] for message in messages]
    accepted = []
    for batch in filter(None, batches):
        entries = [
            {"Id": str(number), "MessageBody": message["Body"], "MessageAttributes": _attributes(message)}
            for number, message in enumerate(batch)
        ]
        failed = set()
        for target in dlq.targets:
            response = sqs.send_message_batch(QueueUrl=target, Entries=entries)
            sent.update(each["MessageId"] for each in response.get("Successful", []))
            # A batch may fail in part, with HTTP 200.
            failed |= {each["Id"] for each in response.get("Failed", [])}
        accepted += [message for number, message in enumerate(batch) if str(number) not in failed]
    return accepted


def _delete(sqs: Any, dlq: DeadLetterQueue, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Delete messages; returns the deleted ones. The next run moves the others again, harmlessly."""
    if not messages:
        return []
    entries = [
        {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
        for number, message in enumerate(messages)
    ]
    response = sqs.delete_message_batch(QueueUrl=dlq.url, Entries=entries)
    return [messages[int(each["Id"])] for each in response.get("Successful", [])]


def _attributes(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value[key] for key in ("DataType", "StringValue", "BinaryValue") if key in value}
        for name, value in message.get("MessageAttributes", {}).items()
        if name not in _ADDED_BY_SNS
    }


def _dead_letter_from(dlq: DeadLetterQueue, message: dict[str, Any]) -> DeadLetter:
    kind: str | None = None
    order_id: str | None = None
    with contextlib.suppress(InvalidMessageError):
        order_id = envelopes.decode(message["Body"]).order_id
        kind = str(decimal_json.loads(message["Body"])["type"])
    return DeadLetter(
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


def _normalized(name: str) -> str:
    """A queue's name for comparison: order_update, OrderUpdateDlq and OrderUpdateQueue are equal."""
    return re.sub(r"(dlq|queue)$", "", re.sub(r"[^a-z0-9]", "", name.lower()))
