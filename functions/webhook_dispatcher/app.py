"""webhook_dispatcher: makes of each event of an order the deliveries that its customer's webhooks want.

The order's own callback is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import webhook_wiring
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock
from order_capture.application.dispatch_webhooks import dispatch_webhooks
from order_capture.application.messages import OrderNews


def work(messages: Sequence[OrderNews]) -> set[str]:
    """Begin the deliveries of each event."""
    lanes = webhook_wiring.lanes("webhook_dispatcher")
    webhooks = webhook_wiring.webhooks()
    return dispatch_webhooks(webhooks, lanes, messages, webhook_wiring.new_secret, clock)


handler = queue_handler(work, OrderNews)
