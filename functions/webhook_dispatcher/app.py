"""webhook_dispatcher: makes of each event of an order the deliveries that its customer's webhooks want.

The order's own callback is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.adapters.system import clock
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.webhooks.dispatch_webhooks import dispatch_webhooks
from order_capture.entrypoints.sqs import queue_handler


def work(messages: Sequence[ReceivedOrderEvent]) -> set[str]:
    """Begin the deliveries of each event."""
    lanes = bootstrap.webhook_lanes("webhook_dispatcher")
    webhooks = bootstrap.webhooks()
    return dispatch_webhooks(webhooks, lanes, messages, bootstrap.new_secret, clock)


handler = queue_handler(work, ReceivedOrderEvent)
