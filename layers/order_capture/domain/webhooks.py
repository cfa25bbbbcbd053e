"""Webhooks: the URLs that a customer's order events are sent to, and the deliveries with their attempts.

All of it is decided from what is stored of a webhook and of a delivery, so that a message about a delivery
may come twice or late: it only names the delivery.
"""

from __future__ import annotations

import hashlib
import math
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from order_capture.domain.errors import StatusConflictError
from order_capture.domain.events import OrderEventType
from order_capture.domain.times import after


class Lane(StrEnum):
    """A queue of deliveries with senders of its own."""

    QUICK = "QUICK"
    """For what is answered quickly: nothing waits for a slow receiver here."""
    SLOW = "SLOW"
    """For receivers that are slow or fail, and for what exceeds a customer's share."""


# Seconds from one attempt to the next, as Standard Webhooks recommends. The last comes at the deadline.
RETRY_DELAYS = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
DEADLINE = 24 * 3600
# How much longer than that a delay may randomly be: what failed together is not retried together.
JITTER = 0.1
# A receiver has a day to learn its new secret.
SECRET_OVERLAP = 24 * 3600

# In the quick lane an answer has so many seconds, if it may take longer at all. What takes longer is sent
# again in the slow lane, and so is all that goes to that receiver for a while: longer each time, up to a day.
QUICK_SECONDS = 2
MIN_SLOW_SECONDS, MAX_SLOW_SECONDS = 300, 24 * 3600
# A receiver that has failed so often in a row is in the slow lane, too.
MAX_QUICK_FAILURES = 3
# How many deliveries of one customer may be in progress in a lane, to any receiver.
SLOTS = {Lane.QUICK: 8, Lane.SLOW: 4}
# In the quick lane a slot then stays free at least so many times as long as it was taken. In the long run
# no customer has more than 8 / (1 + 10) senders; one with slow receivers has a fraction of that.
SLOT_BACKOFF_FACTOR = 10

# A receiver whose last delivery failed gets a single one at a time, with a backoff in between.
MIN_BACKOFF, MAX_BACKOFF = 5, 300  # seconds; twice as long after each failure more
# Statuses with which a receiver may request a pause (RFC 9110, sections 10.2.3 and 15.5.14; RFC 6585, section
# 4). With a redirect, which is not followed, Retry-After is about something else.
PAUSE_STATUSES = (413, 429, 503)
MAX_PAUSE = 3600  # of what a receiver requests; it may request another

# A customer's callbacks, which go to the addresses that their orders name, are one webhook of theirs. Its id
# is known beforehand, in the form that all ids of webhooks have.
CALLBACKS = "0" * 32

MAX_ATTEMPTS_KEPT = 20  # of a delivery that is replayed again and again


class WebhookStatus(StrEnum):
    """Whether anything is sent."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class DeliveryStatus(StrEnum):
    """How far a delivery is."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL of a customer's, and the events that are sent to it. No `event_types` are all of them.

    A customer's callbacks are one webhook without a URL, whose secret signs them. Each delivery has its own
    URL, whose host fails and backs off by itself.
    """

    webhook_id: str
    customer_id: str
    url: str
    event_types: tuple[OrderEventType, ...]
    secret: str
    create_time: str
    update_time: str
    status: WebhookStatus = WebhookStatus.ACTIVE
    previous_secret: str = ""
    previous_until: str = ""
    known: ReceiverHealth | None = None
    """The health of its own URL, if anything is known of it."""

    @classmethod
    def for_callbacks(cls, customer_id: str, secret: str, now: str) -> Webhook:
        """A new webhook that signs a customer's callbacks."""
        return cls(webhook_id_of(customer_id, CALLBACKS), customer_id, "", (), secret, now, now)

    @property
    def is_for_callbacks(self) -> bool:
        """Whether it has no URL of its own."""
        return is_for_callbacks(self.webhook_id)

    def matches(self, event_type: str, callback_url: str = "") -> bool:
        """Whether such an event is sent to it, of an order that names `callback_url` or none."""
        if self.is_for_callbacks:
            return bool(callback_url)
        selected = not self.event_types or event_type in self.event_types
        return selected and self.status is WebhookStatus.ACTIVE

    def secrets(self, now: str) -> list[str]:
        """What signs now: the secret, and for a day the one before it."""
        return [self.secret, *([self.previous_secret] if now < self.previous_until else [])]

    def rotate(self, secret: str, now: str) -> Webhook:
        """With a new secret.

        Raises:
            StatusConflictError: it is turned off, and signs nothing.
        """
        if self.status is not WebhookStatus.ACTIVE:
            raise StatusConflictError(f"The webhook is {self.status}.")
        return replace(
            self,
            secret=secret,
            previous_secret=self.secret,
            previous_until=after(now, SECRET_OVERLAP),
            update_time=now,
        )

    @property
    def receiver(self) -> ReceiverHealth:
        """The health of its own URL."""
        return self.known or ReceiverHealth(self.webhook_id)


@dataclass(frozen=True, slots=True)
class ReceiverHealth:
    """How deliveries to a URL succeed: a webhook's own, or of a customer's callbacks those to one host."""

    webhook_id: str
    name: str = ""
    """The host, with its port, of a callback."""
    failures: int = 0
    """How many deliveries have failed since the last that did not."""
    backoff_until: str = ""
    slow_until: str = ""
    slow_for: int = 0
    """Seconds for which it was last found slow."""

    def lane(self, now: str) -> Lane:
        """The lane of deliveries to it now."""
        return Lane.SLOW if now < self.slow_until or self.failures >= MAX_QUICK_FAILURES else Lane.QUICK

    def claim(self, until: str) -> ReceiverHealth:
        """Reserved for one delivery until then."""
        return replace(self, backoff_until=until)

    def after_attempt(self, answer: DeliveryResponse, seconds: float, now: str) -> ReceiverHealth:
        """Its health after another attempt, which took so many seconds."""
        after_this = replace(self, failures=0, backoff_until="")
        if not (answer.is_success or answer.is_gone):  # one that refuses all events is healthy
            backoff = max(answer.pause, min(MIN_BACKOFF * 2 ** min(self.failures, 10), MAX_BACKOFF))
            after_this = replace(self, failures=self.failures + 1, backoff_until=after(now, backoff))
        return after_this.found_slow(now) if seconds > QUICK_SECONDS else after_this

    def found_slow(self, now: str) -> ReceiverHealth:
        """Slow from now on for a while; for four times as long as before if it was slow recently."""
        if self.slow_until > after(now, 0.9 * MAX_SLOW_SECONDS):
            return self  # and is not written again for every delivery
        recently = self.slow_until and now < after(self.slow_until, self.slow_for)
        seconds = min(4 * self.slow_for, MAX_SLOW_SECONDS) if recently else MIN_SLOW_SECONDS
        return replace(self, slow_for=seconds, slow_until=after(now, seconds))


@dataclass(frozen=True, slots=True)
class Share:
    """A customer's share of the senders: so many slots of each lane, each free from a time on."""

    customer_id: str
    slots: Mapping[Lane, tuple[str, ...]]
    answer_ms: int = 1000 * QUICK_SECONDS
    """What an answer takes in the quick lane, in milliseconds, by the last ones; at first the most it may."""

    def free(self, lane: Lane, now: str) -> list[int]:
        """The slots that a delivery may take now.

        In the quick lane as many are taken as would be answered within its time one after the other: whoever
        takes most of it has one.
        """
        free = [slot for slot, until in enumerate(self.slots[lane]) if until <= now]
        kept = SLOTS[lane] - max(1000 * QUICK_SECONDS // self.answer_ms, 1) if lane is Lane.QUICK else 0
        return free[max(kept, 0) :]

    def after_answer(self, seconds: float) -> int:
        """The duration of an answer after one took so long: as long as that, or half as long as before."""
        return max(math.ceil(1000 * seconds), self.answer_ms // 2, 1)

    @staticmethod
    def backoff(lane: Lane, seconds: float) -> float:
        """Seconds until a slot is free again that was taken for so long."""
        return SLOT_BACKOFF_FACTOR * seconds * (1 + seconds) if lane is Lane.QUICK else 0


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """The response to a webhook: its HTTP status, or in words why there is none."""

    status: int | None
    fault: str = ""
    is_late: bool = False
    """Whether it did not come in time; it may have come later."""
    retry_after: float = 0
    """Seconds from now, as the receiver put it in Retry-After."""

    @property
    def pause(self) -> float:
        """Seconds for which nothing is sent to the receiver, at its request."""
        return min(self.retry_after, MAX_PAUSE) if self.status in PAUSE_STATUSES else 0

    @property
    def is_success(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver refuses all further events."""
        return self.status == 410

    @property
    def outcome(self) -> str:
        """What it comes down to, in a word of which there are few."""
        if self.is_success:
            return "delivered"
        if self.is_late:
            return "late"
        return "gone" if self.is_gone else "refused" if self.status else "unreachable"

    def __str__(self) -> str:
        return self.fault or f"answered {self.status}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: when, and its result."""

    time: str
    result: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a webhook. `attempt_series` counts its replays, each of which restarts it."""

    delivery_id: str
    webhook_id: str
    order_id: str
    event_type: str
    body: str
    correlation_id: str
    create_time: str
    series_start: str
    """When this series of attempts began; its deadline counts from here."""
    next_time: str
    """When its next attempt is due; during an attempt, when the claim of its sender expires."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempt_series: int = 0
    attempt_count: int = 0
    """In this series."""
    attempts: tuple[Attempt, ...] = ()
    callback_url: str = ""
    """Where it is sent, if not to its webhook's URL."""

    @classmethod
    def begin(
        cls,
        webhook: Webhook,
        *,
        event_id: str,
        event_type: str,
        event_time: str,
        order_id: str,
        body: str,
        correlation_id: str,
        now: str,
        callback_url: str = "",
    ) -> Delivery:
        """The delivery of an event to a webhook. Its id is the same each time that it is requested.

        It begins with the event's time, so that ids sort as their events happened.
        """
        milliseconds = int(_time(event_time).timestamp() * 1000)
        digest = hashlib.sha256(f"{event_id}/{webhook.webhook_id}".encode()).hexdigest()
        return cls(
            delivery_id=f"{milliseconds:012x}{digest[:20]}",
            webhook_id=webhook.webhook_id,
            order_id=order_id,
            event_type=event_type,
            body=body,
            correlation_id=correlation_id,
            create_time=now,
            series_start=now,
            next_time=now,
            callback_url=callback_url if webhook.is_for_callbacks else "",
        )

    @property
    def host(self) -> str:
        """The host, with its port, that a callback goes to."""
        return urllib.parse.urlsplit(self.callback_url).netloc.lower()

    def restart(self, attempt_series: int, now: str) -> Delivery:
        """From its first attempt, whatever its result was."""
        return replace(
            self,
            status=DeliveryStatus.PENDING,
            attempt_series=attempt_series,
            attempt_count=0,
            series_start=now,
            next_time=now,
        )

    def is_overdue(self, now: str) -> bool:
        """Whether its deadline has passed, so that it fails if it can't be delivered now."""
        return now >= after(self.series_start, DEADLINE)

    def end(self, status: DeliveryStatus, result: str, now: str) -> Delivery:
        """Delivered or failed, with this result."""
        return replace(self._attempted(result, now), status=status)

    def move_to_slow(self, result: str, now: str) -> Delivery:
        """Due at once, in the slow lane; the attempt does not count."""
        return replace(self._attempted(result, now), attempt_count=self.attempt_count, next_time=now)

    def retry(self, result: str, now: str, random: float, pause: float = 0) -> Delivery:
        """Due later, after the `pause` at the earliest. `random` is from 0 to 1."""
        count = self.attempt_count
        delay = max(RETRY_DELAYS[count] if count < len(RETRY_DELAYS) else DEADLINE, pause)
        next_time = min(after(now, delay * (1 + JITTER * random)), after(self.series_start, DEADLINE))
        return replace(self._attempted(result, now), next_time=next_time)

    def _attempted(self, result: str, now: str) -> Delivery:
        attempts = (*self.attempts, Attempt(now, result))[-MAX_ATTEMPTS_KEPT:]
        return replace(self, attempt_count=self.attempt_count + 1, attempts=attempts)


def webhook_id_of(customer_id: str, unique: str) -> str:
    """A webhook's id. It contains its customer's, under which it is stored; `unique` has no dot."""
    return f"{customer_id}.{unique}"


def is_for_callbacks(webhook_id: str) -> bool:
    """Whether that is the id of a customer's callbacks."""
    return webhook_id.endswith(f".{CALLBACKS}")


def customer_id_of(webhook_id: str) -> str:
    """The customer of a webhook, if there is one of that id."""
    return webhook_id.rpartition(".")[0]


def seconds_until(time: str, now: str) -> float:
    """How long to wait for a time; below zero if it has passed."""
    return (_time(time) - _time(now)).total_seconds()


def unix_seconds(time: str) -> int:
    """A time as seconds since 1970."""
    return int(_time(time).timestamp())


def all_types(event_types: Sequence[OrderEventType]) -> tuple[OrderEventType, ...]:
    """The event types that are sent to a webhook that names these."""
    return tuple(event_types) or tuple(OrderEventType)


def _time(time: str) -> datetime:
    return datetime.fromisoformat(time)
