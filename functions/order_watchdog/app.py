"""order_watchdog: recovers orders that are still open when their check is due."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.application.messages import WatchOrder


def process(messages: Sequence[WatchOrder]) -> set[str]:
    """Check each order, and send the next message of its status again."""
    return bootstrap.watch_orders().process(messages)


handler = queue_handler(process, WatchOrder)
