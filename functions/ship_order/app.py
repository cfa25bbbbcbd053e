"""ship_order: settles what confirmed orders hold, once each."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.adapters.system import backoff, clock
from order_capture.application.messages import ShipOrder
from order_capture.application.orders.ship_orders import ship_orders
from order_capture.entrypoints.invocations import has_time_left
from order_capture.entrypoints.sqs import queue_handler


def work(messages: Sequence[ShipOrder]) -> set[str]:
    """Settle each order."""
    return ship_orders(bootstrap.shipments(), messages, clock, backoff, has_time_left)


handler = queue_handler(work, ShipOrder)
