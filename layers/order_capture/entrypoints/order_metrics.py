"""Metrics of orders, measured at the order table's stream, which has each change of an order once.

A retried batch is counted again. Only the daily reports count each event exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from order_capture.adapters import metrics
from order_capture.application.orders.publish_order_events import OrderChange
from order_capture.domain.events import OrderEvent, OrderEventType, event_of

_COUNTED = {
    OrderEventType.PLACED: "OrdersPlaced",
    OrderEventType.CONFIRMED: "OrdersConfirmed",
    OrderEventType.SHIPPED: "OrdersShipped",
    OrderEventType.CANCELLED: "OrdersCancelled",
    OrderEventType.EXPIRED: "OrdersExpired",
}
_TIMED = {
    OrderEventType.CONFIRMED: "SecondsToDecided",
    OrderEventType.REJECTED: "SecondsToDecided",
    OrderEventType.SHIPPED: "SecondsToShipped",
}


@metrics.harmless
def measure_changes(changes: Sequence[OrderChange]) -> None:
    """Count the orders' events, and measure how long after placement they happened."""
    if not metrics.is_measured():
        return
    events = [event for before, after in changes if (event := event_of(before, after))]
    for kind, number in Counter(event.type for event in events).items():
        if kind in _COUNTED:
            metrics.count(_COUNTED[kind], number)
    rejected = [event.change for event in events if event.type is OrderEventType.REJECTED]
    metrics.count_each("OrdersRejected", "reason", Counter(change.reason or "UNKNOWN" for change in rejected))
    for event in events:
        if event.type in _TIMED:
            metrics.took(_TIMED[event.type], _age(event))


def _age(event: OrderEvent) -> float:
    """Seconds from the order's placement to the event, by clocks that may differ."""
    placed, then = (datetime.fromisoformat(each) for each in (event.order.create_time, event.change.time))
    return max((then - placed).total_seconds(), 0.0)
