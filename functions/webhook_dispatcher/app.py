"""webhook_dispatcher: starts the deliveries of each order event to the webhooks that match it."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.application.messages import ReceivedOrderEvent


def process(events: Sequence[ReceivedOrderEvent]) -> set[str]:
    """Start the deliveries of each event, including the one to the order's own callback."""
    return bootstrap.dispatch_webhooks().process(events)


handler = queue_handler(process, ReceivedOrderEvent)
