"""ship_order: settles what confirmed orders hold, once each."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import wiring
from order_capture.adapters.invocations import in_time
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock, pause
from order_capture.application.messages import ShipOrder
from order_capture.application.ship_orders import ship_orders


def work(messages: Sequence[ShipOrder]) -> set[str]:
    """Settle each order."""
    return ship_orders(wiring.shipments(), messages, clock, pause, in_time)


handler = queue_handler(work, ShipOrder)
