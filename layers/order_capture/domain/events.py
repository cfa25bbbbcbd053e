"""Order events: one for each status that an order reaches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from order_capture.domain.order import Order, OrderDetails, OrderStatus, StatusChange


class OrderEventType(StrEnum):
    """The type of an order event, in the past tense."""

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
    """The status that an event type reports."""
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
        """The status change that the event reports.

        Its time may differ from the time of the order's last change: if two checks' results are written
        together, the first may decide.
        """
        return self.order.transitions[-1]

    @property
    def type(self) -> OrderEventType:
        """What happened."""
        return event_type(self.change.status)


@dataclass(frozen=True, slots=True)
class OrderEventSummary:
    """The fields of an event that the reports need."""

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
    """The event for a change of an order; None if its status did not change. A new order has no `before`."""
    if before is not None and before.status is after.status:
        return None
    return OrderEvent(after)


def events_of(order: Order) -> list[OrderEvent]:
    """All events of an order, each with a snapshot of the order at that time.

    They equal those of `event_of` for its changes, with one exception. If two checks' results were written
    together and the first decided, the original event contains the second as well; here it does not.
    """
    return [OrderEvent(order.as_of(change)) for change in order.transitions]
