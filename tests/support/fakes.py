"""A queue's publisher over the in-memory AWS, and fakes of the ports beyond tables and queues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from order_capture.adapters.messaging.envelopes import decode
from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher
from order_capture.application.channels import CHANNELS, Channel
from order_capture.application.messages import DeliverWebhook, Received
from order_capture.application.operations.ports import DeadLetter, QueueStatus, RedriveResult
from order_capture.domain.errors import TransientError
from tests.support.aws.sqs import SQS
from tests.support.aws.sqs import Message as SqsMessage
from tests.support.factories import NOW


class MemoryPublisher(QueuePublisher):
    """The publisher of an in-memory queue, and the messages in that queue."""

    def __init__(self) -> None:
        self._sqs = SQS(now=lambda: 0.0)
        url = self._sqs.create_queue(QueueName="queue")["QueueUrl"]
        envelopes = EnvelopeFactory("/order-capture/test", lambda: "m-1", lambda: NOW, RecordedBackoff())
        super().__init__(self._sqs, url, envelopes)
        self.failing: set[str] = set()
        """The orders whose messages currently can't be sent."""
        self.meanwhile: list[Callable[[], object]] = []
        """Actions to run before the next calls, one each."""

    @property
    def sent(self) -> list[Received]:
        return [_published(message) for message in self._sqs.queues["queue"].messages]

    @property
    def attributes(self) -> list[dict[str, Any]]:
        """The attributes of each sent message."""
        return [{**message.attributes} for message in self._sqs.queues["queue"].messages]

    def taken(self) -> list[Received]:
        """The messages sent since the last call."""
        sent = self.sent
        self._sqs.queues["queue"].messages.clear()
        return sent

    def _call(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        failing = [e["Id"] for e in entries if decode(e["MessageBody"]).order_id in self.failing]
        passing = [entry for entry in entries if entry["Id"] not in failing]
        failed = [{"Id": each, "Code": "InternalError"} for each in failing]
        return {**(super()._call(passing) if passing else {}), "Failed": failed}


def _published(message: SqsMessage) -> Received:
    published = decode(message.body)
    if isinstance(published, DeliverWebhook):
        # A delivery's delay is not in the message, only in the queue.
        return published.model_copy(update={"delay": int(message.visible_at)})
    return published


class RecordedBackoff:
    """Implements `application.retry.Backoff` without waiting; records after which attempts it was called."""

    def __init__(self) -> None:
        self.after: list[int] = []

    def __call__(self, attempt: int) -> None:
        self.after.append(attempt)


class MemoryConnectionClient:
    """Implements `application.ports.ConnectionClient`; some are `gone`, some `fail`."""

    def __init__(self, gone: Collection[str] = (), fail: Collection[str] = ()) -> None:
        self.gone, self.fail = set(gone), set(fail)
        self.sent: list[tuple[str, str]] = []

    def send(self, connection_id: str, text: str) -> bool:
        if connection_id in self.fail:
            raise TransientError("API Gateway does not answer")
        if connection_id not in self.gone:
            self.sent.append((connection_id, text))
        return connection_id not in self.gone


class MemoryQueues:
    """Implements `application.operations.ports.QueueRepository`: dead letters by their channels' names."""

    def __init__(self, letters: dict[str, list[DeadLetter]] | None = None) -> None:
        self.letters = letters or {}
        self.redriven: list[DeadLetter] = []

    def statuses(self) -> Sequence[QueueStatus]:
        return [QueueStatus(channel, self.count(channel), waiting=3, oldest=2.0) for channel in CHANNELS]

    def count(self, channel: Channel) -> int:
        return len(self.letters.get(channel.name, []))

    def dead_letters(self, channel: Channel, limit: int) -> Sequence[DeadLetter]:
        return self.letters.get(channel.name, [])[:limit]

    def redrive(self, channel: Channel, limit: int) -> RedriveResult:
        letters = self.letters.get(channel.name, [])
        moved = [letter for letter in letters if not letter.is_foreign][:limit]
        self.redriven += moved
        self.letters[channel.name] = [letter for letter in letters if letter not in moved]
        return RedriveResult(len(moved), foreign=sum(letter.is_foreign for letter in letters))

    def discard(self, channel: Channel, message_ids: Collection[str]) -> int:
        letters = self.letters.get(channel.name, [])
        kept = [each for each in letters if not each.is_foreign or each.message_id not in message_ids]
        self.letters[channel.name] = kept
        return len(letters) - len(kept)


def a_dead_letter(order_id: str | None = None, message_id: str = "message-1") -> DeadLetter:
    """An order's dead letter, which its function can read; without an order a foreign one."""
    if order_id is None:
        return DeadLetter(message_id, None, None, 75.0, 20, "nonsense", "it is not JSON")
    return DeadLetter(message_id, "order.checked", order_id, 75.0, 20, "{}")


class MemoryLogs:
    """Implements `application.operations.ports.FunctionLogs`: the last problem with an id, by function."""

    def __init__(self, problems: dict[tuple[str, str], str] | None = None) -> None:
        self.problems = problems or {}

    def last_problem(self, function: str, ids: Collection[str], seconds: float) -> str | None:
        return next(
            (self.problems[function, each] for each in ids if (function, each) in self.problems), None
        )
