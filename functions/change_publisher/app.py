"""change_publisher: publishes order events from the order table's stream, and has new orders watched."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.application.orders.publish_order_events import OrderChange
from order_capture.entrypoints.dynamodb_streams import stream_handler


def process(changes: Sequence[OrderChange]) -> None:
    """Publish the events of each order."""
    bootstrap.publish_order_events().publish(changes)


handler = stream_handler(process)
