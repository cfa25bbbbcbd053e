"""The ports of the use cases. `adapters` implements them; tests and simulations do too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.domain.ledger import Adjustment, Balance, BalanceChange, Entry, Hold
from order_capture.domain.order import Order, OrderDetails, OrderStatus
from order_capture.domain.stripes import Heads

if TYPE_CHECKING:  # most functions use no messages
    from order_capture.application.messages import BalanceState, Message

Clock = Callable[[], str]
"""The current time: ISO 8601, UTC, to the millisecond. It is used for dates and to find overdue orders; no
guarantee depends on it."""

Random = Callable[[], float]
"""A random number from 0 to 1."""

Sleep = Callable[[float], None]
"""Waits for a number of seconds."""


@dataclass
class WriteRefusedError(Exception):
    """An atomic write was refused as a whole, with all the reasons.

    `entries` are those that already exist, by order or adjustment id. `heads` are those that refused a
    change, as they were at that moment (None: there is no such head). `conflict` is true if another write of
    the same items was in progress; `contended` are the heads that it wrote.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    heads: Mapping[str, Balance | None] = field(default_factory=dict)
    conflict: bool = False
    contended: Collection[str] = ()


class VersionConflictError(Exception):
    """Another write has changed the item since it was read."""


@dataclass
class SettleRefusedError(Exception):
    """Nothing was settled. `not_confirmed` are the orders that prevented it, with their status (None: there
    is no such order); `short` is true if a ledger holds less than is to be settled."""

    not_confirmed: Mapping[str, OrderStatus | None] = field(default_factory=dict)
    short: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The request of an Idempotency-Key, and until when it may be in progress (see `Order`)."""

    request_id: str
    fingerprint: str
    in_progress_until: str = ""
    time: str = field(default="", compare=False)
    """When the request came; "" if an earlier release stored it."""


@dataclass(frozen=True, slots=True)
class OrderCursor:
    """The position of an order in its customer's list, or in that of all orders (`create_time`: a second)."""

    create_time: str
    order_id: str


class OrderRepository(Protocol):
    """Stores orders. Reads see every earlier acknowledged write, except for the lists."""

    def add(self, orders: Sequence[Order]) -> Mapping[str, Order | None]:
        """Write the orders that do not exist yet; return the existing ones by id.

        None stands for an idempotency record with that id (see `claim_key`).
        """

    def claim_key(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        """Store a request under its id permanently; if there is an earlier one, only return that."""

    def complete_key(self, request_id: str) -> None:
        """Mark the request that wrote an order or a record as complete."""

    def list_keys(
        self, customer_id: str, since: str, until: str, after: OrderCursor | None, limit: int
    ) -> Sequence[OrderCursor]:
        """Return a customer's orders that were placed from `since` to `until`, both included, newest first.

        At most `limit` orders, those after `after` if it is given. An order that was placed a moment ago may
        be missing.
        """

    def mark_open(self, order_id: str) -> None:
        """Make `list_open` list an order for as long as it is open; does nothing if it is not."""

    def list_open(self, after: OrderCursor | None, limit: int) -> Sequence[OrderCursor]:
        """Return the marked orders that are open, oldest first.

        At most `limit` orders, those after `after` if it is given. An order that changed a moment ago may be
        missing, or still be listed.
        """

    def get(self, order_id: str) -> Order | None:
        """Return an order, or None."""

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Order]:
        """Return the existing ones of these orders, by id."""

    def save(self, order: Order, expected_version: int, key: RequestKey | None = None) -> None:
        """Write a changed order if it still has `expected_version`, with the key's first answer, in one step.

        Raises:
            VersionConflictError: another write has changed it.
            RequestInProgressError: the key already has a first answer.
        """

    def first_answer(self, request_id: str) -> FirstAnswer[Order] | None:
        """Return the order as it was saved with this key's id, or None."""


class LedgerRepository(Protocol):
    """One ledger of holds. Reads see every earlier acknowledged write, except for `list_entities`."""

    def head(self, entity: str) -> Balance | None:
        """Return the root of a customer or product, or None if it is unknown."""

    def heads(self, entity: str, stripes: int = 0) -> Heads:
        """Return the root and its stripes, each possibly read at a different moment; empty if it is unknown.

        `stripes` is the number of its stripes if known, which saves a call.
        """

    def list_entities(self, prefix: str, after: str | None, limit: int) -> Sequence[str]:
        """Return the customers or products whose ids begin with `prefix`, by id, deleted ones included.

        At most `limit` ids, those after `after` if it is given, which also begins with `prefix`. One that was
        new a moment ago may be missing.
        """

    def heads_of(self, stripes: Mapping[str, int]) -> Mapping[str, Heads]:
        """Return the heads of many, like `heads`: each one's root, and the number of stripes in `stripes`.

        Unknown or malformed ones are missing.

        Raises:
            TransientError: not all could be read.
        """

    def holds(self, order_ids: Collection[str]) -> Mapping[str, Hold]:
        """Return the existing holds and declines of these orders, by id. Malformed ones are missing.

        Raises:
            TransientError: not all could be read.
        """

    def closed_until(self) -> str:
        """Return the time until which the books are closed, and entries and history deleted; "" if never."""

    def adjustment(self, entity: str, adjustment_id: str) -> Adjustment | None:
        """Return an earlier adjustment, or None."""

    def write(self, changes: Sequence[BalanceChange], entries: Sequence[Entry], now: str) -> None:
        """Write all in one atomic step: every change to its head, and every entry, if it is new.

        Raises:
            WriteRefusedError: nothing was written.
        """


@dataclass(frozen=True, slots=True)
class Shipment:
    """An order to ship, and by ledger the heads on which it is held, with the amounts."""

    details: OrderDetails
    account: Mapping[str, Decimal]
    stock: Mapping[str, Decimal]


class ShipmentRepository(Protocol):
    """The orders and both ledgers, settled together."""

    def held(self, orders: Sequence[OrderDetails]) -> Sequence[Shipment]:
        """Return the orders that both ledgers hold."""

    def settle(self, shipments: Sequence[Shipment], now: str) -> None:
        """Change CONFIRMED orders to SHIPPED and settle their holds, in one atomic step.

        Raises:
            SettleRefusedError: nothing was written.
        """


@dataclass(frozen=True, slots=True)
class SubscriptionTarget:
    """The target of a subscription: an order, all orders of a customer, or all orders."""

    kind: Literal["order", "customer", "all"]
    id: str = ""

    @classmethod
    def order(cls, order_id: str) -> SubscriptionTarget:
        """One order."""
        return cls("order", order_id)

    @classmethod
    def customer(cls, customer_id: str) -> SubscriptionTarget:
        """All orders of a customer."""
        return cls("customer", customer_id)

    @classmethod
    def all_orders(cls) -> SubscriptionTarget:
        """All orders of all customers."""
        return cls("all")


class SubscriptionRepository(Protocol):
    """The subscriptions of connections. Reads see every earlier acknowledged write."""

    def add(self, connection_id: str, what: SubscriptionTarget, now: str, at_most: int) -> None:
        """Subscribe the connection; repeating it is harmless.

        Raises:
            SubscriptionLimitError: it has too many subscriptions, or the target has `at_most` subscribers.
        """

    def has_any(self, now: str) -> bool:
        """Whether there may be any subscription."""

    def subscribers(
        self, targets: Collection[SubscriptionTarget]
    ) -> Mapping[SubscriptionTarget, Collection[str]]:
        """Return the connections that are subscribed to each of the targets."""

    def remove(self, connection_id: str, *what: SubscriptionTarget) -> None:
        """Remove all subscriptions of the connection, in any case the one to `what`."""


class ConnectionClient(Protocol):
    """Open connections to clients."""

    def send(self, connection_id: str, text: str) -> bool:
        """Send a text; False if the connection no longer exists."""


class MessagePublisher(Protocol):
    """A topic or a queue."""

    def send(self, messages: Sequence[Message]) -> set[str]:
        """Send all; return the ids of the orders whose message could not be sent, after retries."""

    def send_all(self, messages: Sequence[Message]) -> None:
        """Send all.

        Raises:
            TransientError: some could not be sent, after retries; all may be sent again.
            RejectedMessagesError: some can never be sent; all others are sent.
        """


class StatePublisher(Protocol):
    """A topic of balance states."""

    def send_all(self, states: Sequence[BalanceState], /) -> None:
        """Send all, as a `MessagePublisher` does."""
