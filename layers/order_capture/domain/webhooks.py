"""Webhooks: where a customer wants to be told of their orders, and each telling with its tries.

All of it is decided from what is written down of a webhook and of a delivery, so that a message about a
delivery may come twice or late: it only says "look at it".
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
    """For all that is short: nobody is waited for here."""
    SLOW = "SLOW"
    """For receivers that take their time or fail, and for what is more than a customer's share."""


# Seconds from one try to the next, as Standard Webhooks recommends. The last comes at the deadline.
RETRY_DELAYS = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
DEADLINE = 24 * 3600
# How much longer than that a wait may be, by chance: what failed together does not come back together.
JITTER = 0.1
# A receiver has a day to learn its new secret.
SECRET_OVERLAP = 24 * 3600

# In the quick lane an answer has so many seconds, if it may take longer at all. What takes longer is sent
# again in the slow lane, and so is all that goes to that receiver for a while: longer each time, up to a day.
QUICK_SECONDS = 2
FIRST_SLOW, LONGEST_SLOW = 300, 24 * 3600
# A receiver that has failed so often in a row waits in the slow lane, too.
UNWELL = 3
# How many deliveries of one customer may be under way in a lane, wherever they go.
SLOTS = {Lane.QUICK: 8, Lane.SLOW: 4}
# In the quick lane a slot then rests at least so many times as long as it was taken: in the long run nobody
# has more than 8 / (1 + 10) senders, and whoever takes long a fraction of that.
SLOT_BACKOFFS = 10

# A receiver whose last delivery failed gets a single one at a time, and rests in between.
FIRST_REST, LONGEST_REST = 5, 300  # seconds; twice as long after each failure more
# Statuses with which a receiver may ask for a pause (RFC 9110, sections 10.2.3 and 15.5.14; RFC 6585, section
# 4). With a redirect, which is not followed, Retry-After is about something else.
ASKS_FOR_PAUSE = (413, 429, 503)
LONGEST_PAUSE = 3600  # of what a receiver asks for; it may ask again

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
    """An address of a customer's, and what it is to be told. No `event_types` are all of them.

    A customer's callbacks are one webhook without an address, whose secret signs them. Each delivery has its
    own address, whose host fails and rests on its own.
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
    """How its own address fares, if anything is known of it."""

    @classmethod
    def for_callbacks(cls, customer_id: str, secret: str, now: str) -> Webhook:
        """What signs a customer's callbacks, new."""
        return cls(webhook_id_of(customer_id, CALLBACKS), customer_id, "", (), secret, now, now)

    @property
    def is_for_callbacks(self) -> bool:
        """Whether it has no address of its own."""
        return is_for_callbacks(self.webhook_id)

    def matches(self, event_type: str, callback_url: str = "") -> bool:
        """Whether it is to be told of such an event, of an order that names `callback_url` or none."""
        if self.is_for_callbacks:
            return bool(callback_url)
        wanted = not self.event_types or event_type in self.event_types
        return wanted and self.status is WebhookStatus.ACTIVE

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
        """How its own address fares."""
        return self.known or ReceiverHealth(self.webhook_id)


@dataclass(frozen=True, slots=True)
class ReceiverHealth:
    """How deliveries to an address fare: a webhook's own, or of a customer's callbacks those to one host."""

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
        """Where deliveries to it belong now."""
        return Lane.SLOW if now < self.slow_until or self.failures >= UNWELL else Lane.QUICK

    def claim(self, until: str) -> ReceiverHealth:
        """Kept for one delivery alone until then."""
        return replace(self, backoff_until=until)

    def after_try(self, answer: DeliveryResponse, seconds: float, now: str) -> ReceiverHealth:
        """How it stands after one try more, which took so many seconds."""
        after_this = replace(self, failures=0, backoff_until="")
        if not (answer.is_success or answer.is_gone):  # one that wants no more is well
            rest = max(answer.pause, min(FIRST_REST * 2 ** min(self.failures, 10), LONGEST_REST))
            after_this = replace(self, failures=self.failures + 1, backoff_until=after(now, rest))
        return after_this.found_slow(now) if seconds > QUICK_SECONDS else after_this

    def found_slow(self, now: str) -> ReceiverHealth:
        """It is slow from now on for a while; for four times as long as before if it was slow of late."""
        if self.slow_until > after(now, 0.9 * LONGEST_SLOW):
            return self  # and is not written again for every delivery
        lately = self.slow_until and now < after(self.slow_until, self.slow_for)
        seconds = min(4 * self.slow_for, LONGEST_SLOW) if lately else FIRST_SLOW
        return replace(self, slow_for=seconds, slow_until=after(now, seconds))


@dataclass(frozen=True, slots=True)
class Share:
    """What of the senders a customer has: so many slots of each lane, each free from a time on."""

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
        """What an answer takes once one has taken so long: as long as that, or half as long as before."""
        return max(math.ceil(1000 * seconds), self.answer_ms // 2, 1)

    @staticmethod
    def rest(lane: Lane, seconds: float) -> float:
        """For how long a slot rests that was taken for so long."""
        return SLOT_BACKOFFS * seconds * (1 + seconds) if lane is Lane.QUICK else 0


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """What came of sending a webhook: the HTTP status, or in words why there is none."""

    status: int | None
    fault: str = ""
    is_late: bool = False
    """Whether it did not come in time; nothing says that it would not have come."""
    retry_after: float = 0
    """Seconds from now, as the receiver put it in Retry-After."""

    @property
    def pause(self) -> float:
        """Seconds for which the receiver is left alone because it has asked for it."""
        return min(self.retry_after, LONGEST_PAUSE) if self.status in ASKS_FOR_PAUSE else 0

    @property
    def is_success(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more, ever."""
        return self.status == 410

    def __str__(self) -> str:
        return self.fault or f"answered {self.status}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: when, and what came of it."""

    time: str
    result: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a webhook. `round` counts how often it was begun: a replay begins it anew."""

    delivery_id: str
    webhook_id: str
    order_id: str
    event_type: str
    body: str
    correlation_id: str
    create_time: str
    since: str
    """When this round began; its deadline counts from here."""
    next_time: str
    """When it is next tried; while it is being tried, when whoever tries it is taken for dead."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempt_series: int = 0
    tries: int = 0
    """In this round."""
    attempts: tuple[Attempt, ...] = ()
    callback_url: str = ""
    """Where it goes, if not to its webhook's address."""

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
        """The delivery of an event to a webhook. Its id is the same each time that it is asked for.

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
            since=now,
            next_time=now,
            callback_url=callback_url if webhook.is_for_callbacks else "",
        )

    @property
    def host(self) -> str:
        """The host, with its port, that a callback goes to."""
        return urllib.parse.urlsplit(self.callback_url).netloc.lower()

    def restart(self, attempt_series: int, now: str) -> Delivery:
        """From the beginning, whatever became of it before."""
        return replace(
            self,
            status=DeliveryStatus.PENDING,
            attempt_series=attempt_series,
            tries=0,
            since=now,
            next_time=now,
        )

    def is_overdue(self, now: str) -> bool:
        """Whether it is given up now if it can't be delivered."""
        return now >= after(self.since, DEADLINE)

    def end(self, status: DeliveryStatus, result: str, now: str) -> Delivery:
        """It is over, for this reason."""
        return replace(self._tried(result, now), status=status)

    def hand_over(self, result: str, now: str) -> Delivery:
        """It is tried again at once, in the slow lane; the try does not count."""
        return replace(self._tried(result, now), tries=self.tries, next_time=now)

    def retry(self, result: str, now: str, chance: float, pause: float = 0) -> Delivery:
        """It is tried again later, after the `pause` at the earliest. `chance` is from 0 to 1."""
        usual = RETRY_DELAYS[self.tries] if self.tries < len(RETRY_DELAYS) else DEADLINE
        delay = max(usual, pause)
        next_time = min(after(now, delay * (1 + JITTER * chance)), after(self.since, DEADLINE))
        return replace(self._tried(result, now), next_time=next_time)

    def _tried(self, result: str, now: str) -> Delivery:
        attempts = (*self.attempts, Attempt(now, result))[-MAX_ATTEMPTS_KEPT:]
        return replace(self, tries=self.tries + 1, attempts=attempts)


def webhook_id_of(customer_id: str, unique: str) -> str:
    """A webhook's id. It holds whose it is, which is where it is kept; `unique` has no dot."""
    return f"{customer_id}.{unique}"


def is_for_callbacks(webhook_id: str) -> bool:
    """Whether that is the id of a customer's callbacks."""
    return webhook_id.endswith(f".{CALLBACKS}")


def customer_id_of(webhook_id: str) -> str:
    """Whose webhook it is, if there is one of that id."""
    return webhook_id.rpartition(".")[0]


def seconds_until(time: str, now: str) -> float:
    """How long to wait for a time; below zero if it has passed."""
    return (_time(time) - _time(now)).total_seconds()


def unix_seconds(time: str) -> int:
    """A time as seconds since 1970."""
    return int(_time(time).timestamp())


def all_types(event_types: Sequence[OrderEventType]) -> tuple[OrderEventType, ...]:
    """What a webhook that names these is told of."""
    return tuple(event_types) or tuple(OrderEventType)


def _time(time: str) -> datetime:
    return datetime.fromisoformat(time)
