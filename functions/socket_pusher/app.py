"""socket_pusher: tells those who follow an order, or its customer, what has happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.subscriptions.push_events import push_events
from order_capture.entrypoints.invocations import has_time_left
from order_capture.entrypoints.sqs import queue_handler


def work(news: Sequence[ReceivedOrderEvent]) -> set[str]:
    """Send each event on, as it was told."""
    return push_events(bootstrap.subscriptions(), bootstrap.connections(), news, has_time_left)


handler = queue_handler(work, ReceivedOrderEvent)
