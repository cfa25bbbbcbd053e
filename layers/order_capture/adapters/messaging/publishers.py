"""Where messages go: a topic or a queue, in batches of ten.

A batch call can succeed with HTTP 200 and still have entries that failed. They are sent again, and those
that fail to the end are reported, never ignored. A message that can't be sent whatever is done (it is too
large, or refused for what is in it) holds up no other.
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

# What SNS and SQS take in one call, the attributes included. A topic takes 256 KiB, unless its attribute
# MaximumMessageSize says otherwise (SNS API reference, PublishBatch); SQS takes 1 MiB, and needs no more than
# a topic. Ten orders of the largest kind are 51 KB.
BATCH_ENTRIES = 10
BATCH_BYTES = 256 * 1024
MAX_DELAY_SECONDS = 900  # SQS delays no message for longer (SQS API reference, SendMessage: DelaySeconds)
SEND_ATTEMPTS = 3  # on top of botocore's own, for entries that failed within an answered call


@dataclass(frozen=True, slots=True)
class EnvelopeFactory:
    """What every message of one function needs: its source, its time, and an id of its own."""

    source: str
    new_id: Callable[[], str]
    clock: Clock
    backoff: Backoff


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message ready to be sent, and what it is about."""

    subject: str
    size: int
    values: dict[str, Any]


class _Publisher(ABC):
    """Implements `application.ports.MessagePublisher` and `StatePublisher`, over whatever takes a batch."""

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
        """Send a batch; returns what SNS or SQS answers, failed entries included."""

    def _send(self, messages: Sequence[Message | BalanceState]) -> tuple[set[str], set[str]]:
        """What those are about that could not be sent now, and those that never can."""
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
        """Those of a batch that could not be sent, what those are about that never can be, and whether there
        is any use in trying the next batch."""
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
                    # botocore has tried again already, or no time is left for it (invocations). The batches
                    # after this one would wait as long, and outlast the function.
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
        """Send each by itself what was refused as a whole, for one of them."""
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
        """The messages as they are sent, and what those are about that can't be."""
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
            # A standard queue with groups is a fair one. While one group takes up more of the consumers than
            # the others, SQS delivers the others' messages first (SQS Developer Guide, "How Amazon SQS fair
            # queues work"). SNS forwards it to such queues (API reference, PublishBatchRequestEntry).
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
    """All entries, as many at a time as one call takes."""
    batch: list[_Entry] = []
    for entry in entries:
        if len(batch) == BATCH_ENTRIES or sum(each.size for each in batch) + entry.size > BATCH_BYTES:
            yield batch
            batch = []
        entry.values["Id"] = str(len(batch))
        batch.append(entry)
    if batch:
        yield batch
