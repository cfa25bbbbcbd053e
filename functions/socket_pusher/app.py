"""socket_pusher: tells those who follow an order, or its customer, what has happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import socket_wiring
from order_capture.adapters.invocations import in_time
from order_capture.adapters.queues import queue_handler
from order_capture.application.follow_orders import push_events
from order_capture.application.messages import OrderNews


def work(news: Sequence[OrderNews]) -> set[str]:
    """Send each event on, as it was told."""
    return push_events(socket_wiring.followers(), socket_wiring.connections(), news, in_time)


handler = queue_handler(work, OrderNews)
