"""Dead-letter queues: read their messages, move them back to their source queues, delete foreign ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.messaging import envelopes
from order_capture.adapters.operations import diagnosis
from order_capture.adapters.operations.stack import Stack
from order_capture.adapters.serializers import decimal_json
from order_capture.application.channels import CHANNELS, Channel, resource_name
from order_capture.application.operations.ports import DeadLetter, RedriveResult
from order_capture.domain.errors import InvalidMessageError

ProgressCallback = Callable[[str, int], None]
"""Takes the name of the processed things, and how many more are done."""

BATCH = 10  # messages in one SQS call
BATCH_BYTES = 200_000  # SQS takes 256 KiB with attributes; above this, messages are sent one by one
# Moving a batch takes a second. After a crash, messages stay invisible to others for this long.
VISIBILITY_SECONDS = 60

# SNS adds these to messages that it could not deliver; an SQS message has at most ten attributes.
_ADDED_BY_SNS = {"RequestID", "ErrorCode", "ErrorMessage"}


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead-letter queue of a stack, and the queues that its messages go back to."""

    channel: Channel
    url: str
    targets: tuple[str, ...]
    wait: int = 0
    """Seconds of a long poll. On AWS a short poll asks only some of SQS's servers, and may miss messages."""

    @property
    def name(self) -> str:
        """The name in the template: OrderUpdateDlq."""
        return f"{self.channel.resource}Dlq"


def all_queues(stack: Stack) -> list[DeadLetterQueue]:
    """The stack's dead-letter queues."""
    return [queue_of(stack, channel) for channel in CHANNELS if channel.own_dead_letters]


def queue_of(stack: Stack, channel: Channel) -> DeadLetterQueue:
    """The dead-letter queue of a channel."""
    targets = tuple(stack.output(f"{resource_name(name)}QueueUrl") for name in channel.redrives_to)
    wait = 1 if stack.on_aws else 0
    return DeadLetterQueue(channel, stack.output(f"{channel.resource}DlqUrl"), targets, wait)


def count(sqs: Any, dlq: DeadLetterQueue) -> int:
    """The approximate number of messages in the queue."""
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
    seconds: float = float("inf"),
    on_progress: ProgressCallback = lambda *_: None,
) -> RedriveResult:
    """Move the messages of a dead-letter queue back to their source queues, with bodies and attributes.

    A message is sent before it is deleted. After a crash in between it is in both queues, which is harmless.
    A message that fails again meanwhile is not moved a second time.

    Args:
        sqs: a client.
        dlq: the queue.
        rate: at most this many messages a second.
        limit: at most this many messages in all.
        force: also move foreign messages.
        seconds: no batch is started later than this.
        on_progress: called with the number of messages moved.
    """
    result = RedriveResult()
    receipts: dict[str, str] = {}
    sent: set[str] = set()  # message ids of this run: a message with one of them has failed again
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
            if result.moved == limit or time.monotonic() > started + seconds:
                break
            if rate is not None:
                time.sleep(max(0.0, started + result.moved / rate - time.monotonic()))
    return result


def _receive_all(
    sqs: Any, dlq: DeadLetterQueue, receipts: dict[str, str], size: int = BATCH
) -> Generator[list[dict[str, Any]], None, None]:
    """All messages of the queue, in batches, each message once.

    Adds the receipt handles to `receipts`, by message id. At the end, messages that are still in `receipts`
    become visible again immediately.
    """
    try:
        while True:
            received = sqs.receive_message(
                QueueUrl=dlq.url,
                MaxNumberOfMessages=size,
                VisibilityTimeout=VISIBILITY_SECONDS,
                WaitTimeSeconds=dlq.wait,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            new = [message for message in received if message["MessageId"] not in receipts]
            receipts.update({message["MessageId"]: message["ReceiptHandle"] for message in received})
            if not received:
                return
            # Earlier messages become visible again after VISIBILITY_SECONDS; new ones may follow them.
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
            # A batch may fail only in part, with HTTP 200.
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


def discard(sqs: Any, dlq: DeadLetterQueue, message_ids: Collection[str]) -> int:
    """Delete the foreign ones of these messages; returns their number. All others stay."""
    receipts: dict[str, str] = {}
    deleted = 0
    with contextlib.closing(_receive_all(sqs, dlq, receipts)) as batches:
        for batch in batches:
            foreign = [
                message
                for message in batch
                if message["MessageId"] in message_ids and _dead_letter_from(dlq, message).is_foreign
            ]
            for message in _delete(sqs, dlq, foreign):
                del receipts[message["MessageId"]]
                deleted += 1
            if deleted == len(message_ids):
                break
    return deleted


def _dead_letter_from(dlq: DeadLetterQueue, message: dict[str, Any]) -> DeadLetter:
    kind: str | None = None
    order_id: str | None = None
    with contextlib.suppress(InvalidMessageError):
        order_id = envelopes.decode(message["Body"]).order_id
        kind = str(decimal_json.loads(message["Body"])["type"])
    return DeadLetter(
        message["MessageId"],
        kind,
        order_id,
        time.time() - int(message["Attributes"]["SentTimestamp"]) / 1000,
        int(message["Attributes"]["ApproximateReceiveCount"]),
        message["Body"],
        diagnosis.rejection_reason(dlq.channel, message["Body"]),
    )
