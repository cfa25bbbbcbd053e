"""Webhooks: where a customer wants to be told of their orders, and each telling with its tries.

All of it is decided from what is written down of a webhook and of a delivery, so that a message about a
delivery may come twice or late: it only says "look at it".
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from order_capture.domain.errors import StatusConflictError
from order_capture.domain.events import OrderEventType
from order_capture.domain.times import after

# Seconds from one try to the next, as Standard Webhooks recommends. The last comes at the deadline.
RETRY_DELAYS = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
DEADLINE = 24 * 3600
# How much longer than that a wait may be, by chance: what failed together does not come back together.
JITTER = 0.1
# A receiver has a day to learn its new secret.
SECRET_OVERLAP = 24 * 3600

# How many deliveries may be under way to one webhook: fewer than senders run at once, so that one that hangs
# leaves some to the others. One whose last delivery failed gets a single one at a time, and rests in between.
SLOTS = 4
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

    A customer's callbacks are one webhook without an address: its secret signs them, and its slots are shared
    by all of them. Each delivery has its own address, whose host fails and rests on its own (`Host`).
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
    slots: tuple[str, ...] = ()
    """Until when each slot is taken; empty where it never was."""
    failures: int = 0
    """How many deliveries have failed since the last that did not."""
    rest_until: str = ""

    @classmethod
    def for_callbacks(cls, customer_id: str, secret: str, now: str) -> Webhook:
        """What signs a customer's callbacks, new."""
        return cls(webhook_id_of(customer_id, CALLBACKS), customer_id, "", (), secret, now, now)

    @property
    def is_for_callbacks(self) -> bool:
        """Whether it has no address of its own."""
        return is_for_callbacks(self.webhook_id)

    def wants(self, event_type: str, callback_url: str = "") -> bool:
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

    def free_slot(self, now: str) -> int | None:
        """A slot that a delivery may take now, if there is one."""
        if now < self.rest_until:
            return None
        taken = [now < until for until in (*self.slots, *[""] * SLOTS)][:SLOTS]
        if self.failures and any(taken):
            return None
        return taken.index(False) if False in taken else None

    def rest(self, now: str, pause: float = 0) -> str:
        """Until when nothing is sent after one failure more, which asked for a `pause`."""
        return _rest(self.failures, now, pause)


@dataclass(frozen=True, slots=True)
class Host:
    """How a customer's callbacks to one host fare. While it fails, they rest, and are tried one at a time."""

    webhook_id: str
    name: str
    failures: int = 0
    """How many have failed since the last that did not."""
    rest_until: str = ""

    def claim(self, until: str) -> Host:
        """Kept for one delivery alone until then."""
        return replace(self, rest_until=until)

    def after_try(self, now: str, *, success: bool, pause: float = 0) -> Host:
        """How it stands after one try more, which asked for a `pause`."""
        if success:
            return replace(self, failures=0, rest_until="")
        return replace(self, failures=self.failures + 1, rest_until=_rest(self.failures, now, pause))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a webhook: the HTTP status, or in words why there is none."""

    status: int | None
    fault: str = ""
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
    round: int = 0
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

    def again(self, round_: int, now: str) -> Delivery:
        """From the beginning, whatever became of it before."""
        return replace(self, status=DeliveryStatus.PENDING, round=round_, tries=0, since=now, next_time=now)

    def is_overdue(self, now: str) -> bool:
        """Whether it is given up now if it can't be delivered."""
        return now >= after(self.since, DEADLINE)

    def end(self, status: DeliveryStatus, result: str, now: str) -> Delivery:
        """It is over, for this reason."""
        return replace(self._tried(result, now), status=status)

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


def _rest(failures: int, now: str, pause: float) -> str:
    return after(now, max(pause, min(FIRST_REST * 2 ** min(failures, 10), LONGEST_REST)))


def _time(time: str) -> datetime:
    return datetime.fromisoformat(time)
