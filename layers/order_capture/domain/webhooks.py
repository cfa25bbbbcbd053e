"""Webhooks: the URLs that a customer's order events are sent to, and the deliveries with their attempts.

All decisions are made from the stored webhook and delivery. A message only names the delivery, so it may come
twice or late.
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
    """A queue of deliveries with its own senders."""

    QUICK = "QUICK"
    """For receivers that respond quickly: no delivery waits for a slow receiver here."""
    SLOW = "SLOW"
    """For receivers that are slow or failing, and for deliveries beyond a customer's share."""


# Seconds from one attempt to the next, as Standard Webhooks recommends. The last attempt is at the deadline.
RETRY_DELAYS = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
DEADLINE = 24 * 3600
# Jitter: how much longer a delay may be, so that deliveries that failed together are not retried together.
JITTER = 0.1
# A receiver has a day to learn its new secret.
SECRET_OVERLAP = 24 * 3600

# The timeout of a response in the quick lane in seconds, unless the general timeout is shorter. A slower
# delivery is sent again in the slow lane, as are all others to that receiver for a while: longer each time,
# up to a day.
QUICK_SECONDS = 2
MIN_SLOW_SECONDS, MAX_SLOW_SECONDS = 300, 24 * 3600
# A receiver with this many failures in a row is in the slow lane, too.
MAX_QUICK_FAILURES = 3
# The maximum deliveries of one customer in progress in a lane, to all receivers.
SLOTS = {Lane.QUICK: 8, Lane.SLOW: 4}
# In the quick lane a slot then stays unused for at least this many times as long as it was taken. On average
# no customer has more than 8 / (1 + 10) senders; one with slow receivers has a fraction of that.
SLOT_BACKOFF_FACTOR = 10

# A receiver whose last delivery failed gets one delivery at a time, with a backoff in between.
MIN_BACKOFF, MAX_BACKOFF = 5, 300  # seconds; doubles with each further failure
# Statuses with which a receiver may request a pause (RFC 9110, sections 10.2.3 and 15.5.14; RFC 6585, section
# 4). Retry-After of a redirect, which is not followed, has another meaning.
PAUSE_STATUSES = (413, 429, 503)
MAX_PAUSE = 3600  # seconds that a receiver may request; it may then request another pause

# A customer's callbacks, to the URLs in their orders, are one webhook. Its id is fixed, in the form of all
# webhook ids.
CALLBACKS = "0" * 32

MAX_ATTEMPTS_KEPT = 20  # of a delivery that is replayed again and again


class WebhookStatus(StrEnum):
    """Whether events are sent to a webhook."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A customer's URL, and the types of events that are sent to it; no `event_types` means all types.

    A customer's callbacks are one webhook without a URL, whose secret signs them. Each delivery has its own
    URL; failures and backoff are tracked per host.
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
    """The health of its own URL, if it is known."""

    @classmethod
    def for_callbacks(cls, customer_id: str, secret: str, now: str) -> Webhook:
        """A new webhook that signs a customer's callbacks."""
        return cls(webhook_id_of(customer_id, CALLBACKS), customer_id, "", (), secret, now, now)

    @property
    def is_for_callbacks(self) -> bool:
        """Whether it is for callbacks, and has no URL."""
        return is_for_callbacks(self.webhook_id)

    def matches(self, event_type: str, callback_url: str = "") -> bool:
        """Whether an event of this type is sent to it; `callback_url` is the order's, if it has one."""
        if self.is_for_callbacks:
            return bool(callback_url)
        selected = not self.event_types or event_type in self.event_types
        return selected and self.status is WebhookStatus.ACTIVE

    def secrets(self, now: str) -> list[str]:
        """The secrets that sign now: the current one and, for a day, the previous one."""
        return [self.secret, *([self.previous_secret] if now < self.previous_until else [])]

    def rotate(self, secret: str, now: str) -> Webhook:
        """The webhook with a new secret.

        Raises:
            StatusConflictError: it is disabled, and signs nothing.
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
    """The health of a receiver: a webhook's own URL, or one host of a customer's callbacks."""

    webhook_id: str
    name: str = ""
    """The host and port of callbacks; empty for a webhook's own URL."""
    failures: int = 0
    """The number of failed deliveries since the last success."""
    backoff_until: str = ""
    slow_until: str = ""
    slow_for: int = 0
    """Seconds for which it was last marked as slow."""

    def lane(self, now: str) -> Lane:
        """The current lane of its deliveries."""
        return Lane.SLOW if now < self.slow_until or self.failures >= MAX_QUICK_FAILURES else Lane.QUICK

    def claim(self, until: str) -> ReceiverHealth:
        """The receiver, reserved for one delivery until `until`."""
        return replace(self, backoff_until=until)

    def after_attempt(self, answer: DeliveryResponse, seconds: float, now: str) -> ReceiverHealth:
        """Its health after another attempt, which took `seconds`."""
        after_this = replace(self, failures=0, backoff_until="")
        if not (answer.is_success or answer.is_gone):  # a receiver that refuses all events is healthy
            backoff = max(answer.pause, min(MIN_BACKOFF * 2 ** min(self.failures, 10), MAX_BACKOFF))
            after_this = replace(self, failures=self.failures + 1, backoff_until=after(now, backoff))
        return after_this.found_slow(now) if seconds > QUICK_SECONDS else after_this

    def found_slow(self, now: str) -> ReceiverHealth:
        """Marked as slow for a while; four times as long as before if it was slow recently."""
        if self.slow_until > after(now, 0.9 * MAX_SLOW_SECONDS):
            return self  # so that it is not written for every delivery
        recently = self.slow_until and now < after(self.slow_until, self.slow_for)
        seconds = min(4 * self.slow_for, MAX_SLOW_SECONDS) if recently else MIN_SLOW_SECONDS
        return replace(self, slow_for=seconds, slow_until=after(now, seconds))


@dataclass(frozen=True, slots=True)
class Share:
    """A customer's share of the senders: the slots of each lane, with the time from which each is free."""

    customer_id: str
    slots: Mapping[Lane, tuple[str, ...]]
    answer_ms: int = 1000 * QUICK_SECONDS
    """The recent duration of an answer in the quick lane, in milliseconds; initially the maximum."""

    def free(self, lane: Lane, now: str) -> list[int]:
        """The slots that a delivery may take now.

        In the quick lane, a customer gets as many slots as answers fit into the lane's timeout one after the
        other: with answers of more than half of it, one slot.
        """
        free = [slot for slot, until in enumerate(self.slots[lane]) if until <= now]
        kept = SLOTS[lane] - max(1000 * QUICK_SECONDS // self.answer_ms, 1) if lane is Lane.QUICK else 0
        return free[max(kept, 0) :]

    def after_answer(self, seconds: float) -> int:
        """The new `answer_ms` after an answer: its duration, but at least half of the old value."""
        return max(math.ceil(1000 * seconds), self.answer_ms // 2, 1)

    @staticmethod
    def backoff(lane: Lane, seconds: float) -> float:
        """Seconds until a slot is free again after it was taken for `seconds`."""
        return SLOT_BACKOFF_FACTOR * seconds * (1 + seconds) if lane is Lane.QUICK else 0


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """The response to a webhook: its HTTP status, or a text that explains why there is none."""

    status: int | None
    fault: str = ""
    is_late: bool = False
    """Whether it did not arrive in time; it may have arrived later."""
    retry_after: float = 0
    """Seconds from now, from the receiver's Retry-After."""

    @property
    def pause(self) -> float:
        """Seconds for which the receiver requests a pause."""
        return min(self.retry_after, MAX_PAUSE) if self.status in PAUSE_STATUSES else 0

    @property
    def is_success(self) -> bool:
        """Whether the receiver accepted the delivery."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver refuses all further events."""
        return self.status == 410

    @property
    def outcome(self) -> str:
        """The result as one of a few words."""
        if self.is_success:
            return "delivered"
        if self.is_late:
            return "late"
        return "gone" if self.is_gone else "refused" if self.status else "unreachable"

    def __str__(self) -> str:
        return self.fault or f"answered {self.status}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: its time and result."""

    time: str
    result: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of an event to a webhook. `attempt_series` counts its replays, each a restart."""

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
    """When its next attempt is due; during an attempt, when the sender's claim expires."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempt_series: int = 0
    attempt_count: int = 0
    """The number in this series."""
    attempts: tuple[Attempt, ...] = ()
    callback_url: str = ""
    """The URL, if it is not the webhook's."""

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
        """A new delivery of an event to a webhook. Its id is the same each time that it is requested.

        The id begins with the event's time, so that ids sort by time.
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
        """The host and port of a callback."""
        return urllib.parse.urlsplit(self.callback_url).netloc.lower()

    def restart(self, attempt_series: int, now: str) -> Delivery:
        """The delivery restarted from its first attempt, whatever its result was."""
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
        """The delivery ended as delivered or failed, with this result."""
        return replace(self._attempted(result, now), status=status)

    def move_to_slow(self, result: str, now: str) -> Delivery:
        """The delivery in the slow lane, due immediately; the attempt does not count."""
        return replace(self._attempted(result, now), attempt_count=self.attempt_count, next_time=now)

    def retry(self, result: str, now: str, random: float, pause: float = 0) -> Delivery:
        """The delivery due later, at the earliest after `pause`. `random` is from 0 to 1."""
        count = self.attempt_count
        delay = max(RETRY_DELAYS[count] if count < len(RETRY_DELAYS) else DEADLINE, pause)
        next_time = min(after(now, delay * (1 + JITTER * random)), after(self.series_start, DEADLINE))
        return replace(self._attempted(result, now), next_time=next_time)

    def _attempted(self, result: str, now: str) -> Delivery:
        attempts = (*self.attempts, Attempt(now, result))[-MAX_ATTEMPTS_KEPT:]
        return replace(self, attempt_count=self.attempt_count + 1, attempts=attempts)


def webhook_id_of(customer_id: str, unique: str) -> str:
    """A webhook's id. It contains the customer's id, under which it is stored; `unique` has no dot."""
    return f"{customer_id}.{unique}"


def is_for_callbacks(webhook_id: str) -> bool:
    """Whether it is the id of a customer's callbacks."""
    return webhook_id.endswith(f".{CALLBACKS}")


def customer_id_of(webhook_id: str) -> str:
    """The customer in a webhook's id; the webhook may not exist."""
    return webhook_id.rpartition(".")[0]


def seconds_until(time: str, now: str) -> float:
    """Seconds until a time; negative if it has passed."""
    return (_time(time) - _time(now)).total_seconds()


def unix_seconds(time: str) -> int:
    """A time as seconds since 1970."""
    return int(_time(time).timestamp())


def all_types(event_types: Sequence[OrderEventType]) -> tuple[OrderEventType, ...]:
    """The event types that are sent to a webhook with these `event_types`."""
    return tuple(event_types) or tuple(OrderEventType)


def _time(time: str) -> datetime:
    return datetime.fromisoformat(time)
