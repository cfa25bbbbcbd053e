"""What the use cases need of the outside. `adapters` implements it; tests and simulations may too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.application.messages import BalanceState, Message
from order_capture.domain.ledger import Adjustment, Balance, BalanceChange, Entry, Hold
from order_capture.domain.order import Order, OrderDetails, OrderStatus

Clock = Callable[[], str]
"""The time now: ISO 8601, UTC, to the millisecond. It dates things, and says when an order is
overdue; what is safe never depends on it."""

Sleep = Callable[[float], None]
"""Waits for so many seconds."""


@dataclass
class WriteRefusedError(Exception):
    """An atomic write was refused as a whole, and this is all there is to know about why.

    `entries` are those that exist already, by order or adjustment id; `heads` those that a movement was
    refused by, as they stood at that moment (None: there is no such head); `conflict` is true if another
    write of the same items was under way.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    heads: Mapping[str, Balance | None] = field(default_factory=dict)
    conflict: bool = False


class VersionConflictError(Exception):
    """The order was changed by somebody else since it was read."""


@dataclass
class SettleRefusedError(Exception):
    """Nothing was settled. `not_confirmed` are the orders that stood in the way, and their status (None:
    there is no such order); `short` is true if a ledger holds less than is to be settled."""

    not_confirmed: Mapping[str, OrderStatus | None] = field(default_factory=dict)
    short: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """Which request an Idempotency-Key stands for, and until when it may still be at work (see `Order`)."""

    request_id: str
    fingerprint: str
    in_progress_until: str = ""


@dataclass(frozen=True, slots=True)
class OrderCursor:
    """Where an order is in its customer's list."""

    create_time: str
    order_id: str


class OrderRepository(Protocol):
    """Where orders are kept. Reads see every write that was answered before, except for `places`."""

    def add(self, orders: Sequence[Order]) -> Mapping[str, Order | None]:
        """Write those that are not there yet; return, by id, the others as they stand.

        None stands for a request under that id (see `pin`).
        """

    def claim_key(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        """Remember a request under its id, for good; if one came before it, only return that one."""

    def complete_key(self, request_id: str) -> None:
        """The request that an order or a record was written by is no longer running."""

    def list_keys(
        self, customer_id: str, since: str, until: str, after: OrderCursor | None, limit: int
    ) -> Sequence[OrderCursor]:
        """A customer's orders that were placed from `since` to `until`, both included, newest first.

        At most `limit` of them, those behind `after` if that is given. An order that was placed a moment
        ago may be missing.
        """

    def get(self, order_id: str) -> Order | None:
        """An order, or None."""

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Order]:
        """Those of the orders that exist, by id."""

    def save(self, order: Order, expected_version: int, key: RequestKey | None = None) -> None:
        """Write a changed order over version `over` of it, and as the key's first answer, in one step.

        Raises:
            VersionConflictError: somebody else has changed it.
            RequestRunningError: the key has a first answer.
        """

    def first_answer(self, request_id: str) -> FirstAnswer[Order] | None:
        """The order as it was saved with a key of that id, or None."""


class LedgerRepository(Protocol):
    """One ledger of holds. Reads see every write that was answered before."""

    def head(self, entity: str) -> Balance | None:
        """How a customer or product stands, or None if it is unknown."""

    def hold(self, entity: str, order_id: str) -> Hold | None:
        """The decision about an order, or None if there is none yet."""

    def adjustment(self, entity: str, adjustment_id: str) -> Adjustment | None:
        """An adjustment made earlier, or None."""

    def write(self, movements: Sequence[BalanceChange], entries: Sequence[Entry], now: str) -> None:
        """All of it in one atomic step: each movement against its head, each entry if it does not exist.

        Raises:
            WriteRefusedError: nothing was written.
        """


class ShipmentRepository(Protocol):
    """The orders and both ledgers, settled together."""

    def settle(self, orders: Sequence[OrderDetails], now: str) -> None:
        """In one atomic step: CONFIRMED becomes SHIPPED, and what was held is settled.

        Raises:
            SettleRefusedError: nothing was written.
        """


@dataclass(frozen=True, slots=True)
class SubscriptionTarget:
    """What is followed: an order, or all orders of a customer."""

    id: str
    is_order: bool

    @classmethod
    def order(cls, order_id: str) -> SubscriptionTarget:
        """One order."""
        return cls(order_id, is_order=True)

    @classmethod
    def customer(cls, customer_id: str) -> SubscriptionTarget:
        """All orders of a customer."""
        return cls(customer_id, is_order=False)


class SubscriptionRepository(Protocol):
    """Which connections follow what. Reads see every write that was answered before."""

    def add(self, connection_id: str, what: SubscriptionTarget, now: str, at_most: int) -> None:
        """From now on the connection follows it, too; no harm if it did before.

        Raises:
            SubscriptionLimitError: it follows too much already, or `at_most` others follow the same.
        """

    def subscribers(self, what: SubscriptionTarget) -> Collection[str]:
        """The connections that follow it."""

    def remove(self, connection_id: str, *what: SubscriptionTarget) -> None:
        """The connection follows nothing any more; `what` least of all."""


class ConnectionClient(Protocol):
    """Open connections to clients."""

    def send(self, connection_id: str, text: str) -> bool:
        """Send a text; False if there is no such connection any more."""


class MessagePublisher(Protocol):
    """Where messages are sent to."""

    def send(self, messages: Sequence[Message]) -> set[str]:
        """Send all; return the ids of the orders whose message could not be sent, after retries."""

    def send_all(self, messages: Sequence[Message]) -> None:
        """Send all.

        Raises:
            TemporaryError: some could not be sent, after retries; all may be sent again.
            RefusedMessagesError: some never can be; all the others are sent.
        """


class StatePublisher(Protocol):
    """Whoever keeps a copy of a ledger."""

    def send_all(self, states: Sequence[BalanceState], /) -> None:
        """Send all, as an `Outbox` does."""
