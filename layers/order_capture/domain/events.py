"""What happens to an order, as facts for others: one for each status that it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from order_capture.domain.order import Order, OrderStatus


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


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """The order as it stood when it came to its status.

    `sequence` counts the order's events from 1, without a gap: a consumer that gets them late, twice or out
    of order can tell.
    """

    type: OrderEventType
    sequence: int
    order: Order


def event_of(before: Order | None, after: Order) -> OrderEvent | None:
    """The event that a change of an order is; None if its status stayed. `before` is None for a new order."""
    if before is not None and before.status is after.status:
        return None
    # A status has one way to it but for CANCELLED, which comes second or third.
    if before is None:
        sequence = 1
    elif before.status is OrderStatus.PENDING:
        sequence = 2
    else:
        sequence = 3
    return OrderEvent(_TYPES[after.status], sequence, after)
