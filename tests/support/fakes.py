"""Ports of the use cases in memory. The contract suite holds them to what DynamoDB does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from order_capture.adapters.messaging.envelopes import decode
from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher
from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.application.messages import DeliverWebhook, Message, order_id_of
from order_capture.application.ports import (
    SubscriptionTarget,
    VersionConflictError,
)
from order_capture.application.reports.ports import AlreadyCountedError, Generations
from order_capture.domain.errors import (
    RequestInProgressError,
    SubscriptionLimitError,
    TransientError,
    WebhookLimitError,
)
from order_capture.domain.events import OrderEventSummary
from order_capture.domain.history import Commit, HistoryRecord, as_of
from order_capture.domain.ledger import ZERO
from order_capture.domain.reports import Metric, Row, RowKey, aggregate_events
from order_capture.domain.webhooks import SLOTS, Delivery, Lane, ReceiverHealth, Share, Webhook, WebhookStatus
from tests.support.aws.sqs import SQS
from tests.support.aws.sqs import Message as SqsMessage
from tests.support.factories import NOW


@dataclass
class Interruptions:
    """What happens to the next calls, one each: an error is raised, anything else is called first.

    So a test says that a write meets another one (an error), or that somebody is quicker (a call).
    """

    coming: list[Exception | Callable[[], object]] = field(default_factory=list)

    def happen(self) -> None:
        if not self.coming:
            return
        interruption = self.coming.pop(0)
        if isinstance(interruption, Exception):
            raise interruption
        interruption()


class MemoryHistoryRepository:
    """Implements `application.ledger.ports.HistoryRepository`."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str], HistoryRecord] = {}

    def put(self, lines: Sequence[HistoryRecord]) -> None:
        for line in lines:
            self._lines[line.entity, line.time, line.key] = line

    def transaction_at(self, entity: str, at: str) -> Commit | None:
        return as_of((line for line in self._of(entity) if isinstance(line, Commit)), at)

    def newest(self, entity: str, until: HistoryCursor | None, limit: int) -> Sequence[HistoryRecord]:
        lines = reversed(self._of(entity))
        return [line for line in lines if until is None or (line.time, line.key) <= (until.time, until.key)][
            :limit
        ]

    def _of(self, entity: str) -> list[HistoryRecord]:
        return [line for (of, _, _), line in sorted(self._lines.items()) if of == entity]


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
    def sent(self) -> list[Message]:
        return [_published(message) for message in self._sqs.queues["queue"].messages]

    def taken(self) -> list[Message]:
        """What was sent since the last time that this was asked."""
        sent = self.sent
        self._sqs.queues["queue"].messages.clear()
        return sent

    def _call(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        failing = [e["Id"] for e in entries if order_id_of(decode(e["MessageBody"])) in self.failing]
        passing = [entry for entry in entries if entry["Id"] not in failing]
        failed = [{"Id": each, "Code": "InternalError"} for each in failing]
        return {**(super()._call(passing) if passing else {}), "Failed": failed}


def _published(message: SqsMessage) -> Message:
    published = decode(message.body)
    if isinstance(published, DeliverWebhook):
        # How long a delivery waits is not in the message: it is for the queue to know.
        return replace(published, delay=int(message.visible_at))
    return published


class RecordedBackoff:
    """Implements `application.retry.Backoff` without waiting; records after which attempts it was called."""

    def __init__(self) -> None:
        self.after: list[int] = []

    def __call__(self, attempt: int) -> None:
        self.after.append(attempt)


class MemoryWebhookRepository:
    """Implements `application.webhooks.ports.WebhookRepository`."""

    def __init__(self) -> None:
        self._webhooks: dict[str, Webhook] = {}
        self._deliveries: dict[tuple[str, str], Delivery] = {}
        self._receivers: dict[tuple[str, str], ReceiverHealth] = {}
        self._shares: dict[str, Share] = {}
        self._refused: set[tuple[str, str]] = set()
        self._registered: set[str] = set()
        self._answers: dict[str, FirstAnswer[Any]] = {}

    def add(self, webhook: Webhook, key: RequestKey | None = None) -> Webhook | None:
        self._must_be_new(key)
        existing = self._webhooks.get(webhook.webhook_id)
        self._webhooks.setdefault(webhook.webhook_id, webhook)
        if existing is None:
            self._answer(key, webhook)
        return existing

    def register(self, webhook: Webhook, at_most: int, key: RequestKey | None = None) -> None:
        self._must_be_new(key)
        theirs = self.of_customer(webhook.customer_id)
        if sum(each.webhook_id in self._registered for each in theirs) >= at_most:
            raise WebhookLimitError(at_most)
        self._registered.add(webhook.webhook_id)
        self._webhooks[webhook.webhook_id] = webhook
        self._answer(key, webhook)

    def get(self, webhook_id: str) -> Webhook | None:
        return self._webhooks.get(webhook_id)

    def of_customer(self, customer_id: str) -> Sequence[Webhook]:
        return [each for each in self._webhooks.values() if each.customer_id == customer_id]

    def remove(self, webhook: Webhook, key: RequestKey | None = None) -> bool:
        self._must_be_new(key)
        if self._webhooks.pop(webhook.webhook_id, None) is None:
            return False
        self._answer(key, webhook)
        return True

    def rotate(self, webhook: Webhook, expected: str, key: RequestKey | None = None) -> None:
        self._must_be_new(key)
        existing = self._webhooks.get(webhook.webhook_id)
        if existing is None or existing.secret != expected:
            raise VersionConflictError(webhook.webhook_id)
        self._webhooks[webhook.webhook_id] = replace(
            existing,
            secret=webhook.secret,
            previous_secret=webhook.previous_secret,
            previous_until=webhook.previous_until,
            update_time=webhook.update_time,
        )
        self._answer(key, webhook)

    def answer_with(self, delivery: Delivery, key: RequestKey) -> None:
        self._must_be_new(key)
        self._answer(key, replace(delivery, body=""))

    def answered_webhook(self, request_id: str) -> FirstAnswer[Webhook] | None:
        return self._answers.get(request_id)

    def answered_delivery(self, request_id: str) -> FirstAnswer[Delivery] | None:
        return self._answers.get(request_id)

    def _must_be_new(self, key: RequestKey | None) -> None:
        if key is not None and key.request_id in self._answers:
            raise RequestInProgressError

    def _answer(self, key: RequestKey | None, answer: Webhook | Delivery) -> None:
        if key is not None:
            # What is kept of a webhook is what a new one has.
            kept = (
                replace(answer, previous_secret="", previous_until="")
                if isinstance(answer, Webhook)
                else answer
            )
            self._answers[key.request_id] = FirstAnswer(key.fingerprint, kept)

    def disable(self, webhook_id: str, now: str) -> None:
        if existing := self._webhooks.get(webhook_id):
            self._webhooks[webhook_id] = replace(existing, status=WebhookStatus.DISABLED, update_time=now)

    def share(self, customer_id: str) -> Share:
        return self._shares.get(
            customer_id, Share(customer_id, {lane: ("",) * count for lane, count in SLOTS.items()})
        )

    def take(self, customer_id: str, lane: Lane, slot: int, now: str, until: str) -> bool:
        if now < self.share(customer_id).slots[lane][slot]:
            return False
        self._set(customer_id, lane, slot, until)
        return True

    def release(
        self,
        customer_id: str,
        lane: Lane,
        slot: int,
        taken: str,
        until: str,
        answer_ms: int | None = None,
    ) -> None:
        if self.share(customer_id).slots[lane][slot] == taken:
            self._set(customer_id, lane, slot, until)
            if answer_ms is not None:
                self._shares[customer_id] = replace(self._shares[customer_id], answer_ms=answer_ms)

    def receiver(self, webhook_id: str, name: str) -> ReceiverHealth:
        return self._receivers.get((webhook_id, name), ReceiverHealth(webhook_id, name))

    def save_receiver(self, receiver: ReceiverHealth, expected: ReceiverHealth, now: str) -> bool:
        webhook = self._webhooks.get(receiver.webhook_id)
        if receiver.name:
            if self.receiver(receiver.webhook_id, receiver.name).backoff_until != expected.backoff_until:
                return False
            self._receivers[receiver.webhook_id, receiver.name] = receiver
        elif webhook is None or webhook.receiver.backoff_until != expected.backoff_until:
            return False
        else:
            self._webhooks[receiver.webhook_id] = replace(webhook, known=receiver)
        return True

    def refuse_order(self, webhook_id: str, order_id: str, now: str) -> None:
        self._refused.add((webhook_id, order_id))

    def is_refused(self, webhook_id: str, order_id: str) -> bool:
        return (webhook_id, order_id) in self._refused

    def add_delivery(self, delivery: Delivery) -> None:
        self._deliveries.setdefault((delivery.webhook_id, delivery.delivery_id), delivery)

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        return self._deliveries.get((webhook_id, delivery_id))

    def deliveries(self, webhook_id: str, before: str | None, limit: int) -> Sequence[Delivery]:
        found = [each for (of, _), each in sorted(self._deliveries.items(), reverse=True) if of == webhook_id]
        return [each for each in found if before is None or each.delivery_id < before][:limit]

    def save_delivery(self, delivery: Delivery, expected: Delivery) -> bool:
        key = (delivery.webhook_id, delivery.delivery_id)
        existing = self._deliveries.get(key)
        if existing is None or (existing.next_time, existing.status, existing.attempt_series) != (
            expected.next_time,
            expected.status,
            expected.attempt_series,
        ):
            return False
        self._deliveries[key] = delivery
        return True

    def _set(self, customer_id: str, lane: Lane, slot: int, until: str) -> None:
        share = self.share(customer_id)
        slots = share.slots[lane]
        changed = (*slots[:slot], until, *slots[slot + 1 :])
        self._shares[customer_id] = replace(share, slots={**share.slots, lane: changed})


class MemorySubscriptionRepository:
    """Implements `application.ports.SubscriptionRepository`."""

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._followed: dict[str, set[SubscriptionTarget]] = {}

    def add(self, connection_id: str, what: SubscriptionTarget, now: str, at_most: int = 50) -> None:
        followed = self._followed.get(connection_id, set())
        if what not in followed and len(followed) >= self._most:
            raise SubscriptionLimitError(f"A connection can follow {self._most} things. Open another one.")
        if what not in followed and len(self.subscribers(what)) >= at_most:
            raise SubscriptionLimitError(f"Only {at_most} connections can follow the same.")
        self._followed[connection_id] = {*followed, what}

    def subscribers(self, what: SubscriptionTarget) -> Collection[str]:
        return {connection_id for connection_id, followed in self._followed.items() if what in followed}

    def remove(self, connection_id: str, *what: SubscriptionTarget) -> None:
        self._followed.pop(connection_id, None)


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


class MemoryReportRepository:
    """Implements `application.reports.ports.ReportRepository`."""

    def __init__(self) -> None:
        self._generations = Generations(1)
        self._counted: set[tuple[int, str]] = set()
        self._rows: dict[tuple[int, RowKey], dict[Metric, Decimal]] = {}
        self.interruptions = Interruptions()
        self.writes = 0

    def generations(self) -> Generations:
        return self._generations

    def build(self, generation: int) -> None:
        """Begin a new generation."""
        self._generations = Generations(self._generations.current, generation)

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> None:
        self.interruptions.happen()
        again = frozenset(fact.event_id for fact in facts if (generation, fact.event_id) in self._counted)
        if again:
            raise AlreadyCountedError(again)
        self.writes += 1
        self._counted |= {(generation, fact.event_id) for fact in facts}
        for key, figures in aggregate_events(facts).items():
            row = self._rows.setdefault((generation, key), {})
            for figure, added in figures.items():
                row[figure] = row.get(figure, ZERO) + added

    def rows(self, generation: int, day: str, after: RowKey | None, limit: int) -> Sequence[Row]:
        def place(key: RowKey) -> str:
            return key.product_id or ""

        own = sorted((key for number, key in self._rows if (number, key.day) == (generation, day)), key=place)
        behind = [key for key in own if after is None or place(key) > place(after)]
        return [Row(key, self._rows[generation, key]) for key in behind[:limit]]
