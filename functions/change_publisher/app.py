"""change_publisher: follows the order table, and has every new order watched."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import wiring
from order_capture.adapters.runtime import setting
from order_capture.adapters.streams import stream_handler
from order_capture.application.watch_orders import watch_new_orders


def work(placed: Sequence[tuple[str, str]]) -> None:
    """Put each new order before the watchdog, in a while."""
    watch_new_orders(wiring.watchdog("change_publisher"), placed, int(setting("WATCH_DELAY_SECONDS")))


handler = stream_handler(work)
