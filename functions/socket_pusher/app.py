"""socket_pusher: pushes order events to the WebSocket connections that are subscribed to them."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.application.messages import ReceivedOrderEvent


def process(events: Sequence[ReceivedOrderEvent]) -> set[str]:
    """Send each event as it was published."""
    return bootstrap.push_events().process(events)


handler = queue_handler(process, ReceivedOrderEvent)
