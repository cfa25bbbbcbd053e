"""change_publisher: follows the order table, has new orders watched, and tells what happens to orders."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import wiring
from order_capture.adapters.runtime import setting
from order_capture.adapters.streams import stream_handler
from order_capture.application.publish_changes import OrderChange, publish_changes

SOURCE = "change_publisher"


def work(changes: Sequence[OrderChange]) -> None:
    """Put each new order before the watchdog, in a while, and publish what happened."""
    delay = int(setting("WATCH_DELAY_SECONDS"))
    publish_changes(wiring.watchdog(SOURCE), wiring.listeners(SOURCE), changes, delay)


handler = stream_handler(work)
