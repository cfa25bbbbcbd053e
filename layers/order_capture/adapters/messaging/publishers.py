"""Publish messages to a topic or a queue, in batches of ten.

A batch call can succeed with HTTP 200 and still have failed entries. They are retried; entries that still
fail after that are reported, never ignored. A message that can never be sent (too large, or refused for its
content) blocks no other.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import botocore.exceptions

from order_capture.adapters.aws_errors import is_refusal, is_worth_a_retry
from order_capture.adapters.messaging import envelopes
from order_capture.application.messages import (
    BalanceState,
    DeliverWebhook,
    Message,
    WatchOrder,
    group_of,
    subject_of,
)
from order_capture.application.ports import Clock
from order_capture.application.retry import Backoff, Retry
from order_capture.domain.errors import RejectedMessagesError, TransientError

logger = logging.getLogger(__name__)

# Limits of one call to SNS or SQS, including attributes. A topic takes 256 KiB, unless its attribute
# MaximumMessageSize is different (SNS API reference, PublishBatch); SQS takes 1 MiB, and needs no more than
# a topic. Ten of the largest orders are 51 KB.
BATCH_ENTRIES = 10
BATCH_BYTES = 256 * 1024
MAX_DELAY_SECONDS = 900  # SQS's maximum delay (SQS API reference, SendMessage: DelaySeconds)
SEND_ATTEMPTS = 3  # in addition to botocore's own, for failed entries of a successful call


@dataclass(frozen=True, slots=True)
class EnvelopeFactory:
    """Creates the envelopes of one function's messages, with the source, the time and a new id."""

    source: str
    new_id: Callable[[], str]
    clock: Clock
    backoff: Backoff


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message ready to be sent, and its subject."""

    subject: str
    size: int
    values: dict[str, Any]


class _Publisher(ABC):
    """Implements `application.ports.MessagePublisher` and `StatePublisher`, for any target of batches."""

    _body_name: str

    def __init__(self, sender: EnvelopeFactory) -> None:
        self._sender = sender

    def send(self, messages: Sequence[Message | BalanceState]) -> set[str]:
        unsent, refused = self._send(messages)
        return unsent | refused

    def send_all(self, messages: Sequence[Message | BalanceState]) -> None:
        unsent, refused = self._send(messages)
        if unsent:
            count = sum(subject_of(message) in unsent for message in messages)
            raise TransientError(f"{count} messages could not be sent yet")
        if refused:
            raise RejectedMessagesError(refused)

    @abstractmethod
    def _call(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Send a batch; returns the response of SNS or SQS, including failed entries."""

    def _send(self, messages: Sequence[Message | BalanceState]) -> tuple[set[str], set[str]]:
        """Send messages; returns the subjects of those not sent yet, and of those that can never be sent."""
        unsent: set[str] = set()
        entries, refused = self._entries(messages)
        reachable = True
        for batch in _batches(entries):
            left = batch
            if reachable:
                left, denied, reachable = self._deliver(batch)
                refused |= denied
            unsent.update(entry.subject for entry in left)
        return unsent, refused

    def _deliver(self, batch: list[_Entry]) -> tuple[list[_Entry], set[str], bool]:
        """Send a batch; returns the entries not sent yet, the subjects of those that can never be sent, and
        whether it is worth trying the next batch."""
        left, refused = batch, set[str]()
        for attempt in Retry(self._sender.backoff, max_attempts=SEND_ATTEMPTS):
            try:
                answer = self._call([entry.values for entry in left])
            except (
                botocore.exceptions.BotoCoreError,
                botocore.exceptions.ClientError,
                TransientError,
            ) as error:
                logger.exception("could not send")
                if is_worth_a_retry(error):
                    # botocore has already retried, or no time is left for it (invocations). The next batches
                    # would wait as long, and outlast the function.
                    return left, refused, False
                return self._deliver_apart(left, refused)
            codes = {failure["Id"]: failure.get("Code") for failure in answer.get("Failed", [])}
            if codes:
                logger.warning("entries of a batch failed", extra={"failures": [*codes.values()]})
            failed = [entry for entry in left if entry.values["Id"] in codes]
            left = [entry for entry in failed if not is_refusal(codes[entry.values["Id"]])]
            refused |= {entry.subject for entry in failed if entry not in left}
            if not left:
                break
            attempt.back_off()
        return left, refused, True

    def _deliver_apart(self, entries: list[_Entry], refused: set[str]) -> tuple[list[_Entry], set[str], bool]:
        """Send the entries of a refused batch one by one, since only one of them may be at fault."""
        if len(entries) == 1:
            return [], refused | {entries[0].subject}, True
        unsent: list[_Entry] = []
        reachable = True
        for entry in entries:
            left = [entry]
            if reachable:
                left, denied, reachable = self._deliver(left)
                refused |= denied
            unsent += left
        return unsent, refused, reachable

    def _entries(self, messages: Sequence[Message | BalanceState]) -> tuple[list[_Entry], set[str]]:
        """The entries to send, and the subjects of messages that can't be sent."""
        entries: list[_Entry] = []
        refused: set[str] = set()
        for message in messages:
            try:
                entry = self._entry(message)
            except Exception:
                logger.exception("a message can't be written")
                refused.add(subject_of(message))
                continue
            if entry.size > BATCH_BYTES:
                logger.error("a message of %d bytes is too large to be sent", entry.size)
                refused.add(entry.subject)
            else:
                entries.append(entry)
        return entries, refused

    def _entry(self, message: Message | BalanceState) -> _Entry:
        envelope = envelopes.encode(
            message, message_id=self._sender.new_id(), source=self._sender.source, time=self._sender.clock()
        )
        attributes = envelope.attributes
        values: dict[str, Any] = {
            self._body_name: envelope.body,
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        }
        if isinstance(message, WatchOrder | DeliverWebhook):
            values["DelaySeconds"] = message.delay
        if group := group_of(message):
            # A group makes a standard queue a fair queue. While one group occupies more of the consumers than
            # the others, SQS delivers the others' messages first (SQS Developer Guide, "How Amazon SQS fair
            # queues work"). SNS forwards the group to such queues (API reference, PublishBatchRequestEntry).
            values["MessageGroupId"] = group
        size = len(envelope.body.encode()) + sum(
            len(f"{name}String{value}") for name, value in attributes.items()
        )
        return _Entry(subject_of(message), size, values)


class TopicPublisher(_Publisher):
    """An SNS topic."""

    _body_name = "Message"

    def __init__(self, client: Any, topic_arn: str, sender: EnvelopeFactory) -> None:
        super().__init__(sender)
        self._client = client
        self._topic_arn = topic_arn

    def _call(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.publish_batch(
            TopicArn=self._topic_arn, PublishBatchRequestEntries=entries
        )
        return answer


class QueuePublisher(_Publisher):
    """An SQS queue."""

    _body_name = "MessageBody"

    def __init__(self, client: Any, queue_url: str, sender: EnvelopeFactory) -> None:
        super().__init__(sender)
        self._client = client
        self._queue_url = queue_url

    def _call(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        return answer


def _batches(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """The entries in batches that fit into one call."""
    batch: list[_Entry] = []
    for entry in entries:
        if len(batch) == BATCH_ENTRIES or sum(each.size for each in batch) + entry.size > BATCH_BYTES:
            yield batch
            batch = []
        entry.values["Id"] = str(len(batch))
        batch.append(entry)
    if batch:
        yield batch
