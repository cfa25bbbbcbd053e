"""change_publisher: follows the order table, has new orders watched, and tells what happens to orders."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.application.orders.publish_order_events import OrderChange, publish_order_events
from order_capture.config import env
from order_capture.entrypoints.dynamodb_streams import stream_handler

SOURCE = "change_publisher"


def work(changes: Sequence[OrderChange]) -> None:
    """Put each new order before the watchdog, in a while, and publish what happened."""
    delay = int(env("WATCH_DELAY_SECONDS"))
    publish_order_events(
        bootstrap.watchdog_publisher(SOURCE), bootstrap.order_event_publisher(SOURCE), changes, delay
    )


handler = stream_handler(work)
