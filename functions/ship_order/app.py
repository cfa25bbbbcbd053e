"""ship_order: settles the holds of confirmed orders, each exactly once."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.application.messages import ShipOrder


def process(messages: Sequence[ShipOrder]) -> set[str]:
    """Settle each order."""
    return bootstrap.ship_orders().process(messages)


handler = queue_handler(process, ShipOrder, retry_soon=True)
