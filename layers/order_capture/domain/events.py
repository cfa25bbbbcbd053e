"""Order events: one fact for each status that an order reaches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from order_capture.domain.order import Order, OrderDetails, OrderStatus, StatusChange


class OrderEventType(StrEnum):
    """A fact about an order, in the past tense."""

    PLACED = "order.placed"
    CONFIRMED = "order.confirmed"
    REJECTED = "order.rejected"
    SHIPPED = "order.shipped"
    CANCELLED = "order.cancelled"
    EXPIRED = "order.expired"


_TYPES = {
    status: OrderEventType.PLACED if status is OrderStatus.PENDING else OrderEventType[status.name]
    for status in OrderStatus
}
_STATUSES = {kind: status for status, kind in _TYPES.items()}


def status_of(kind: OrderEventType) -> OrderStatus:
    """The status that an event stands for."""
    return _STATUSES[kind]


def event_type(status: OrderStatus) -> OrderEventType:
    """The event type for a status."""
    return _TYPES[status]


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """A snapshot of an order when it reached its status."""

    order: Order

    @property
    def change(self) -> StatusChange:
        """The change of its status that the event is of.

        Its time is not always that at which the order was last changed: of two answers that are written at
        once, the first may decide.
        """
        return self.order.transitions[-1]

    @property
    def type(self) -> OrderEventType:
        """What happened."""
        return event_type(self.change.status)


@dataclass(frozen=True, slots=True)
class OrderEventSummary:
    """The fields of an event that reports need."""

    event_id: str
    change: StatusChange
    details: OrderDetails
    create_time: str
    """When its order was placed."""

    @property
    def type(self) -> OrderEventType:
        """What happened."""
        return event_type(self.change.status)

    @property
    def decline_code(self) -> str | None:
        """The code of the check that rejected the order; None for other events."""
        return self.change.reason if self.type is OrderEventType.REJECTED else None


def event_of(before: Order | None, after: Order) -> OrderEvent | None:
    """The event for a change of an order; None if its status stayed. `before` is None for a new order."""
    if before is not None and before.status is after.status:
        return None
    return OrderEvent(after)


def events_of(order: Order) -> list[OrderEvent]:
    """All events of an order, each with a snapshot of the order at that time.

    They are those that `event_of` made of its changes. Only where two answers were written at once and the
    first decided, the second was in the event already, and is not in it here.
    """
    return [OrderEvent(order.as_of(change)) for change in order.transitions]
