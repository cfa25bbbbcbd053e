"""order_watchdog: drives on whatever is still open when its time comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from order_capture import bootstrap
from order_capture.adapters.system import backoff, clock
from order_capture.application.messages import WatchOrder
from order_capture.application.orders.watch_orders import watch_orders
from order_capture.config import env
from order_capture.entrypoints.invocations import has_time_left
from order_capture.entrypoints.sqs import queue_handler

SOURCE = "order_watchdog"


def work(messages: Sequence[WatchOrder]) -> set[str]:
    """Look at each order, and send again what follows from its status."""
    return watch_orders(
        bootstrap.orders(),
        bootstrap.check_publisher(SOURCE),
        bootstrap.shipping_publisher(SOURCE),
        bootstrap.watchdog_publisher(SOURCE),
        messages,
        timedelta(seconds=int(env("ORDER_DEADLINE_SECONDS"))),
        clock,
        backoff,
        has_time_left,
    )


handler = queue_handler(work, WatchOrder)
