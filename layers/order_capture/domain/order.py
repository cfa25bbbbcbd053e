"""An order's lifecycle: its details, the checks' results, and the status.

An `Order` is an immutable value; each step returns the next one. The status moves only along
`TRANSITIONS`, so nothing that arrives late, twice or out of order can move it backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from order_capture.domain.errors import InvalidMessageError, StatusConflictError

# Ids of customers, products and orders. Requests allow a narrower pattern; ids by this one remain valid.
ID_PATTERN = r"^[A-Za-z0-9._:@+~-]{1,64}$"
# Length of an order's callback URL. Enough for a host and a path with a token; more would be the larger part
# of an order, which is written and published with the URL several times.
MAX_URL = 512

MAX_ITEMS = 50  # all held in one write, or none (a test compares it to a transaction's limit)
MAX_QTY = 100_000  # of a line
MAX_TOTAL = Decimal("999999999.99")


class OrderStatus(StrEnum):
    """The status of an order."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    SHIPPED = "SHIPPED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset(
        {OrderStatus.CONFIRMED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED}
    ),
    OrderStatus.CONFIRMED: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
    OrderStatus.REJECTED: frozenset(),
    OrderStatus.SHIPPED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.EXPIRED: frozenset(),
}


def sequences_of(status: OrderStatus) -> set[int]:
    """The possible positions, counted from 1, of this status among an order's status changes."""
    if status is OrderStatus.PENDING:
        return {1}
    befores = [before for before, after in TRANSITIONS.items() if status in after]
    return {sequence + 1 for before in befores for sequence in sequences_of(before)}


REFUSED = frozenset({OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED})


class CheckType(StrEnum):
    """The two checks of every order, which run in parallel."""

    BALANCE = "BALANCE"
    STOCK = "STOCK"


class Outcome(StrEnum):
    """The outcome of a check: the required amount is held for the order, or declined."""

    HELD = "HELD"
    DECLINED = "DECLINED"


class DeclineCode(StrEnum):
    """Why a check declined.

    An open set: a later release may add codes, and an unknown code counts as a decline.
    """

    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    INSUFFICIENT_STOCK = "INSUFFICIENT_STOCK"
    UNKNOWN_CUSTOMER = "UNKNOWN_CUSTOMER"
    UNKNOWN_PRODUCT = "UNKNOWN_PRODUCT"
    PRICE_MISMATCH = "PRICE_MISMATCH"  # the order names a price other than the product's, or none
    ORDER_CLOSED = "ORDER_CLOSED"  # the order was refused before this check was made


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check's result, with the figures that explain it.

    `entity` is the customer or product of the result; None if an order of several products is held as a
    whole, and then `requested` is the sum of their quantities. `code` is a `DeclineCode`, or a code of a
    later release. If an order was declined for its price, `price` is the product's, and `unit_price` the one
    that the order names, if any.
    """

    outcome: Outcome
    requested: Decimal
    entity: str | None = None
    code: str | None = None
    available: Decimal | None = None
    price: Decimal | None = None
    unit_price: Decimal | None = None

    def __str__(self) -> str:
        if self.outcome is Outcome.HELD:
            return f"{self.outcome} {self.requested}"
        figures = "" if self.available is None else f", asked {self.requested}, available {self.available}"
        if self.price is not None:
            ordered = "without a price" if self.unit_price is None else f"at {self.unit_price}"
            figures += f", price {self.price}, ordered {ordered}"
        about = "" if self.entity is None else f" {self.entity}"
        return f"{self.outcome} {self.code}{about}{figures}"


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A line of an order: units of one product, each at `unit_price` if the order names one."""

    product_id: str
    qty: int
    unit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderDetails:
    """The order's id, customer, items and total. They never change; every message contains them."""

    order_id: str
    customer_id: str
    items: tuple[OrderLine, ...]
    total_amount: Decimal

    def __post_init__(self) -> None:
        """Refuse invalid values from any source.

        Raises:
            InvalidMessageError: an id is empty, there are no or too many items, or an amount or a price
                is out of bounds or not a number.
        """
        if not self.order_id or not self.customer_id or not all(line.product_id for line in self.items):
            raise InvalidMessageError("an order needs an order id, a customer id and product ids")
        if not 1 <= len(self.items) <= MAX_ITEMS:
            raise InvalidMessageError(f"an order has 1 to {MAX_ITEMS} items, not {len(self.items)}")
        if not all(1 <= line.qty <= MAX_QTY for line in self.items):
            raise InvalidMessageError(f"a quantity is 1 to {MAX_QTY}")
        if not (self.total_amount.is_finite() and 0 <= self.total_amount <= MAX_TOTAL):
            raise InvalidMessageError(f"a total amount is a number from 0 to {MAX_TOTAL}")
        if not all(
            line.unit_price is None or (line.unit_price.is_finite() and line.unit_price >= 0)
            for line in self.items
        ):
            raise InvalidMessageError("a unit price is a number of at least 0")


@dataclass(frozen=True, slots=True)
class StatusChange:
    """An order reached a status.

    `sequence` counts the changes of an order from 1, without a gap. `reason` is a code: the `DeclineCode` of
    the check that rejected it, or `PUBLISH_FAILED`; None if the status needs no reason.
    """

    status: OrderStatus
    time: str
    sequence: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CheckRecorded:
    """A check's result was recorded in the order's `checks`."""

    check: CheckType
    time: str


PUBLISH_FAILED = "PUBLISH_FAILED"
"""The reason for cancelling an order that was never accepted: its checks could not be requested."""


class NextAction(StrEnum):
    """The next message to send for an order's status."""

    SHIP = "SHIP"
    RELEASE = "RELEASE"


@dataclass(frozen=True, slots=True)
class Order:
    """An order in its current state. `version` counts its changes and guards each write of it."""

    details: OrderDetails
    create_time: str
    correlation_id: str
    fingerprint: str
    timeline: tuple[StatusChange | CheckRecorded, ...]
    """Its status changes and check results, in order."""
    status: OrderStatus = OrderStatus.PENDING
    checks: Mapping[CheckType, CheckResult] = field(default_factory=dict)
    version: int = 1
    callback_url: str = ""
    """The URL for this order's events, in addition to its customer's webhooks; empty if there is none."""
    in_progress_until: str = ""
    """Until then its request may still be in progress; empty after the request was answered."""

    @property
    def order_id(self) -> str:
        """The id that the client received."""
        return self.details.order_id

    @property
    def update_time(self) -> str:
        """The time of its last change."""
        return self.timeline[-1].time

    @property
    def transitions(self) -> tuple[StatusChange, ...]:
        """Its status changes, in order; the last one is current."""
        return tuple(step for step in self.timeline if isinstance(step, StatusChange))

    @property
    def decided_by(self) -> CheckType | None:
        """The check whose result was recorded first; of two recorded together, the one that was received."""
        return next((step.check for step in self.timeline if isinstance(step, CheckRecorded)), None)

    @property
    def is_open(self) -> bool:
        """Whether its status may still change."""
        return bool(TRANSITIONS[self.status])

    @classmethod
    def place(
        cls, details: OrderDetails, *, now: str, correlation_id: str, fingerprint: str, callback_url: str = ""
    ) -> Order:
        """A new order. `fingerprint` identifies the request that it came from."""
        return cls(
            details=details,
            create_time=now,
            correlation_id=correlation_id,
            fingerprint=fingerprint,
            timeline=(StatusChange(OrderStatus.PENDING, now, sequence=1),),
            callback_url=callback_url,
        )

    def initial_snapshot(self) -> Order:
        """This order as in the first response, so that a repeated request gets the same one."""
        return Order.place(
            self.details,
            now=self.create_time,
            correlation_id=self.correlation_id,
            fingerprint=self.fingerprint,
            callback_url=self.callback_url,
        )

    def record_check(self, check: CheckType, decision: CheckResult, *, now: str) -> Order:
        """Record a check's result, and change the status if that decides the order.

        Only the first result of a check counts: a later one of the same check changes nothing. A result that
        arrives after the order was decided is recorded as information, and does not change the status.
        """
        if check in self.checks:
            return self
        checks = {**self.checks, check: decision}
        order = replace(
            self,
            checks=checks,
            timeline=(*self.timeline, CheckRecorded(check, now)),
            version=self.version + 1,
        )
        if order.status is not OrderStatus.PENDING:
            return order
        if decision.outcome is Outcome.DECLINED:
            return order._move(OrderStatus.REJECTED, now, decision.code)
        if len(checks) == len(CheckType):
            return order._move(OrderStatus.CONFIRMED, now)
        return order

    def withdraw(self, *, now: str) -> Order:
        """Withdraw an order whose checks could not be requested. Only a pending order can be withdrawn."""
        if self.status is not OrderStatus.PENDING:
            raise StatusConflictError(f"The order is {self.status} and can't be withdrawn.")
        return self._close(OrderStatus.CANCELLED, now, PUBLISH_FAILED)

    def cancel(self, *, now: str) -> Order:
        """Cancel the order at its client's request.

        Raises:
            StatusConflictError: it has already shipped or ended.
        """
        if OrderStatus.CANCELLED not in TRANSITIONS[self.status]:
            raise StatusConflictError(f"The order is {self.status} and can no longer be cancelled.")
        return self._close(OrderStatus.CANCELLED, now)

    def expire(self, *, now: str) -> Order:
        """Expire an order that was not decided in time. Only a pending order expires."""
        return self._close(OrderStatus.EXPIRED, now)

    def ship(self, *, now: str) -> Order:
        """Ship a confirmed order."""
        return self._close(OrderStatus.SHIPPED, now)

    def as_of(self, change: StatusChange) -> Order:
        """This order as it was when it reached a status, except for its version."""
        timeline = self.timeline[: self.timeline.index(change) + 1]
        recorded = {step.check for step in timeline if isinstance(step, CheckRecorded)}
        checks = {check: result for check, result in self.checks.items() if check in recorded}
        return replace(self, timeline=timeline, checks=checks, status=change.status)

    def is_overdue(self, *, now: str, deadline: timedelta) -> bool:
        """Whether the order should have been decided by now."""
        if self.status is not OrderStatus.PENDING:
            return False
        return datetime.fromisoformat(now) - datetime.fromisoformat(self.create_time) >= deadline

    def next_action(self) -> NextAction | None:
        """The next message to send, derived from the current status.

        It is evaluated every time the order is checked, never as a side effect of a change. So the next check
        repairs a crash between a change and its message.
        """
        if self.status is OrderStatus.CONFIRMED:
            return NextAction.SHIP
        all_declined = len(self.checks) == len(CheckType) and all(
            decision.outcome is Outcome.DECLINED for decision in self.checks.values()
        )
        if self.status in REFUSED and not all_declined:
            return NextAction.RELEASE
        return None

    def _close(self, status: OrderStatus, now: str, reason: str | None = None) -> Order:
        return replace(self._move(status, now, reason), version=self.version + 1)

    def _move(self, status: OrderStatus, now: str, reason: str | None = None) -> Order:
        if status not in TRANSITIONS[self.status]:
            raise ValueError(f"an order that is {self.status} can't become {status}")
        change = StatusChange(status, now, len(self.transitions) + 1, reason)
        return replace(self, status=status, timeline=(*self.timeline, change))
