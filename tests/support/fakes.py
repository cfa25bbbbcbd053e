"""A queue's publisher over AWS in memory, and the ports that are not AWS's tables and queues."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from order_capture.adapters.messaging.envelopes import decode
from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher
from order_capture.application.messages import DeliverWebhook, Received
from order_capture.domain.errors import TransientError
from tests.support.aws.sqs import SQS
from tests.support.aws.sqs import Message as SqsMessage
from tests.support.factories import NOW


class MemoryPublisher(QueuePublisher):
    """The publisher of a queue in memory, and what has come to that queue."""

    def __init__(self) -> None:
        self._sqs = SQS(now=lambda: 0.0)
        url = self._sqs.create_queue(QueueName="queue")["QueueUrl"]
        envelopes = EnvelopeFactory("/order-capture/test", lambda: "m-1", lambda: NOW, RecordedBackoff())
        super().__init__(self._sqs, url, envelopes)
        self.failing: set[str] = set()
        """The orders whose messages can't be sent now."""
        self.meanwhile: list[Callable[[], object]] = []
        """What happens before the next calls, one each."""

    @property
    def sent(self) -> list[Received]:
        return [_published(message) for message in self._sqs.queues["queue"].messages]

    @property
    def attributes(self) -> list[dict[str, Any]]:
        """The attributes of each message that was sent."""
        return [{**message.attributes} for message in self._sqs.queues["queue"].messages]

    def taken(self) -> list[Received]:
        """What was sent since the last time that this was asked."""
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
        # How long a delivery waits is not in the message: it is for the queue to know.
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
