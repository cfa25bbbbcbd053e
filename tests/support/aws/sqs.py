"""SQS standard queues in memory: batches, delay, visibility, receive counts, dead letters."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from tests.support.aws.errors import client_error

MAX_ENTRIES = 10
MAX_BATCH_BYTES = 1024 * 1024
MAX_DELAY = 900


@dataclass(slots=True)
class Message:
    """One copy of a message in a queue."""

    message_id: str
    body: str
    attributes: Mapping[str, Any]
    visible_at: float
    receives: int = 0
    receipt: str = ""
    group: str | None = None
    """Its MessageGroupId: on a standard queue, its tenant (see fair queues)."""


@dataclass(slots=True)
class Queue:
    """A queue and its messages, visible or not."""

    name: str
    visibility: float = 30.0
    dead_letters: str | None = None
    max_receives: int = 0
    messages: list[Message] = field(default_factory=list)


class SQS:
    """All queues of an account. A queue's URL and ARN are its name with a prefix."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, new_id: Callable[[], str] | None = None
    ) -> None:
        numbers = itertools.count(1)
        self._now = now
        self._new_id = new_id or (lambda: f"message-{next(numbers)}")
        self._receipts = itertools.count(1)
        self.queues: dict[str, Queue] = {}
        self.transit: Callable[[Queue, Message], Sequence[float]] = lambda queue, message: (0.0,)
        """The seconds after which each copy of a message arrives. No copy: it is lost."""

    # The calls of botocore's client

    def create_queue(self, *, QueueName: str, Attributes: Mapping[str, str] | None = None) -> dict[str, str]:  # noqa: N803
        """Create a queue; only VisibilityTimeout and RedrivePolicy of its attributes are used."""
        attributes = Attributes or {}
        queue = Queue(QueueName, float(attributes.get("VisibilityTimeout", 30)))
        if policy := parsed(attributes.get("RedrivePolicy", "null")):
            queue.dead_letters = policy["deadLetterTargetArn"].rpartition(":")[2]
            queue.max_receives = int(policy["maxReceiveCount"])
        self.queues[QueueName] = queue
        return {"QueueUrl": queue_url(QueueName)}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Sequence[str]) -> dict[str, Any]:  # noqa: N803
        """Return the queue's ARN; other requested attributes are ignored."""
        return {"Attributes": {"QueueArn": queue_arn(self._queue(QueueUrl).name)}}

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Send up to ten messages."""
        operation = "SendMessageBatch"
        queue = self._queue(QueueUrl)
        check_batch(operation, "AWS.SimpleQueueService.", Entries, "MessageBody", MAX_BATCH_BYTES)
        for entry in Entries:
            if not 0 <= entry.get("DelaySeconds", 0) <= MAX_DELAY:
                raise client_error(operation, "InvalidParameterValue", "DelaySeconds is 0 to 900")
        successful = []
        for entry in Entries:
            attributes = entry.get("MessageAttributes", {})
            message_id = self.put(
                queue.name,
                entry["MessageBody"],
                attributes,
                entry.get("DelaySeconds", 0),
                entry.get("MessageGroupId"),
            )
            successful.append({"Id": entry["Id"], "MessageId": message_id})
        return {"Successful": successful}

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> dict[str, str]:  # noqa: N803
        """Send a message."""
        return {"MessageId": self.put(self._queue(QueueUrl).name, MessageBody, {})}

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, **_: Any) -> dict[str, Any]:  # noqa: N803
        """Receive up to ten visible messages, which are then hidden for the visibility timeout."""
        received = self.take(self._queue(QueueUrl).name, MaxNumberOfMessages)
        return {"Messages": [_received(message) for message in received]} if received else {}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        """Delete a message; an outdated receipt is not an error and does nothing."""
        queue = self._queue(QueueUrl)
        queue.messages = [each for each in queue.messages if each.receipt != ReceiptHandle]

    def change_message_visibility(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        ReceiptHandle: str,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
    ) -> None:
        """Make a received message visible again after some seconds from now."""
        for message in self._queue(QueueUrl).messages:
            if message.receipt == ReceiptHandle:
                message.visible_at = self._now() + VisibilityTimeout

    def change_message_visibility_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        Entries: Sequence[Mapping[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        """Make up to ten received messages visible again, each after some seconds from now."""
        operation = "ChangeMessageVisibilityBatch"
        check_batch(operation, "AWS.SimpleQueueService.", Entries, "ReceiptHandle", MAX_BATCH_BYTES)
        for entry in Entries:
            self.change_message_visibility(
                QueueUrl=QueueUrl,
                ReceiptHandle=entry["ReceiptHandle"],
                VisibilityTimeout=entry["VisibilityTimeout"],
            )
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    # Beyond botocore's calls

    def put(
        self,
        queue: str,
        body: str,
        attributes: Mapping[str, Any],
        delay: float = 0.0,
        group: str | None = None,
    ) -> str:
        """Add a message, under a new id."""
        message = Message(self._new_id(), body, attributes, self._now() + delay, group=group)
        target = self.queues[queue]
        for late in self.transit(target, message):
            copy = replace(message, visible_at=message.visible_at + late)
            target.messages.append(copy)
        return message.message_id

    def visible(self, queue: str) -> list[Message]:
        """The messages that can be received now. Those received too often are moved to the dead letters."""
        source, now = self.queues[queue], self._now()
        seen = [message for message in source.messages if message.visible_at <= now]
        if source.dead_letters is None:
            return seen
        worn_out = [message for message in seen if message.receives >= source.max_receives]
        for message in worn_out:
            source.messages.remove(message)
            self.queues[source.dead_letters].messages.append(replace(message, visible_at=now, receives=0))
        return [message for message in seen if message not in worn_out] if worn_out else seen

    def take(self, queue: str, number: int) -> list[Message]:
        """Receive the first visible messages, up to `number`."""
        received = self.visible(queue)[:number]
        for message in received:
            self.receive(queue, message)
        return received

    def receive(self, queue: str, message: Message) -> None:
        """Receive a message, and hide it for the queue's visibility timeout."""
        message.receives += 1
        message.receipt = f"receipt-{next(self._receipts)}"
        message.visible_at = self._now() + self.queues[queue].visibility

    def _queue(self, url: str) -> Queue:
        name = url.rpartition("/")[2]
        if name not in self.queues:
            raise client_error("SQS", "AWS.SimpleQueueService.NonExistentQueue", "no such queue")
        return self.queues[name]


parsed = lru_cache(json.loads)
"""Parses a JSON attribute; the same few recur."""


def queue_url(name: str) -> str:
    """The URL of a queue."""
    return f"https://sqs.us-east-1.amazonaws.com/123456789012/{name}"


def queue_arn(name: str) -> str:
    """The ARN of a queue."""
    return f"arn:aws:sqs:us-east-1:123456789012:{name}"


def check_batch(
    operation: str, prefix: str, entries: Sequence[Mapping[str, Any]], body: str, most_bytes: int
) -> None:
    """Check a batch by the rules that SNS and SQS share. `prefix` precedes the service's error codes."""
    if not entries:
        raise client_error(operation, f"{prefix}EmptyBatchRequest", "the batch is empty")
    if len(entries) > MAX_ENTRIES:
        raise client_error(operation, f"{prefix}TooManyEntriesInBatchRequest", "more than 10 entries")
    if len({entry["Id"] for entry in entries}) != len(entries):
        raise client_error(operation, f"{prefix}BatchEntryIdsNotDistinct", "two entries of one id")
    if sum(_size(entry, body) for entry in entries) > most_bytes:
        raise client_error(operation, f"{prefix}BatchRequestTooLong", f"more than {most_bytes} bytes")


def _size(entry: Mapping[str, Any], body: str) -> int:
    attributes = entry.get("MessageAttributes", {})
    return len(entry[body].encode()) + sum(
        len(name) + len(value["DataType"]) + len(value["StringValue"].encode())
        for name, value in attributes.items()
    )


def _received(message: Message) -> dict[str, Any]:
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "Attributes": {"ApproximateReceiveCount": str(message.receives)},
        "MessageAttributes": dict(message.attributes),
    }
