"""order_watchdog: drives on whatever is still open when its time comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from order_capture.adapters import wiring
from order_capture.adapters.invocations import in_time
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock, pause, setting
from order_capture.application.messages import WatchOrder
from order_capture.application.watch_orders import watch_orders

SOURCE = "order_watchdog"


def work(messages: Sequence[WatchOrder]) -> set[str]:
    """Look at each order, and send again what follows from its status."""
    return watch_orders(
        wiring.orders(),
        wiring.checkers(SOURCE),
        wiring.shipping(SOURCE),
        wiring.watchdog(SOURCE),
        messages,
        timedelta(seconds=int(setting("ORDER_DEADLINE_SECONDS"))),
        clock,
        pause,
        in_time,
    )


handler = queue_handler(work, WatchOrder)
