"""Where messages go: a topic or a queue, in batches of ten.

A batch call can succeed with HTTP 200 and still have entries that failed. They are sent again, and those
that fail to the end are reported, never ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import botocore.exceptions

from order_capture.adapters import cloudevents
from order_capture.application.messages import DeliverWebhook, EntityState, Message, WatchOrder, subject_of
from order_capture.application.ports import Clock, Pause

logger = logging.getLogger(__name__)

# What SNS and SQS take in one call. Ten orders of the largest kind are 51 KB, of the 256 KiB they take.
BATCH_ENTRIES = 10
SEND_TRIES = 3  # on top of botocore's own, for entries that failed within an answered call


@dataclass(frozen=True, slots=True)
class Sender:
    """What every message of one function needs: who says it, when, and an id of its own."""

    source: str
    new_id: Callable[[], str]
    clock: Clock
    pause: Pause


class _BatchCall(Protocol):
    def __call__(self, entries: list[dict[str, Any]]) -> dict[str, Any]: ...


class TopicOutbox:
    """Implements `application.ports.Outbox` and `StateOutbox` over an SNS topic."""

    def __init__(self, client: Any, topic_arn: str, sender: Sender) -> None:
        self._client = client
        self._topic_arn = topic_arn
        self._sender = sender

    def send(self, messages: Sequence[Message | EntityState]) -> set[str]:  # noqa: D102 - the port says it
        return _send(messages, self._sender, "Message", self._publish)

    def _publish(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.publish_batch(
            TopicArn=self._topic_arn, PublishBatchRequestEntries=entries
        )
        return answer


class QueueOutbox:
    """Implements `application.ports.Outbox` over an SQS queue."""

    def __init__(self, client: Any, queue_url: str, sender: Sender) -> None:
        self._client = client
        self._queue_url = queue_url
        self._sender = sender

    def send(self, messages: Sequence[Message]) -> set[str]:  # noqa: D102
        return _send(messages, self._sender, "MessageBody", self._send_batch)

    def _send_batch(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        return answer


def _send(
    messages: Sequence[Message | EntityState], sender: Sender, body_name: str, call: _BatchCall
) -> set[str]:
    failed: set[str] = set()
    reachable = True
    for batch in _batches(messages, sender, body_name):
        unsent = {entry["Id"]: (subject, entry) for subject, entry in batch}
        for tries in range(1, SEND_TRIES + 1):
            if not reachable:
                break
            try:
                answer = call([entry for _, entry in unsent.values()])
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                # botocore has tried again already. The batches after this one would wait as long, and
                # outlast the function.
                logger.exception("could not send")
                reachable = False
                break
            failures = answer.get("Failed", [])
            unsent = {failure["Id"]: unsent[failure["Id"]] for failure in failures}
            if not unsent:
                break
            logger.warning("entries of a batch failed", extra={"failures": [f["Code"] for f in failures]})
            if tries < SEND_TRIES:
                sender.pause(tries)
        failed.update(subject for subject, _ in unsent.values())
    return failed


def _batches(
    messages: Sequence[Message | EntityState], sender: Sender, body_name: str
) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    batch: list[tuple[str, dict[str, Any]]] = []
    for message in messages:
        envelope = cloudevents.encode(
            message, message_id=sender.new_id(), source=sender.source, time=sender.clock()
        )
        if len(batch) == BATCH_ENTRIES:
            yield batch
            batch = []
        attributes = {
            name: {"DataType": "String", "StringValue": value}
            for name, value in (("type", envelope.type), ("version", envelope.version))
        }
        entry: dict[str, Any] = {
            "Id": str(len(batch)),
            body_name: envelope.body,
            "MessageAttributes": attributes,
        }
        if isinstance(message, WatchOrder | DeliverWebhook):
            entry["DelaySeconds"] = message.delay
        batch.append((subject_of(message), entry))
    if batch:
        yield batch
