"""webhook_sender: sends each delivery that is due, and has the others looked at again when they are."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import webhook_wiring
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock
from order_capture.application.deliver_webhooks import deliver_webhooks
from order_capture.application.messages import DeliverWebhook

SOURCE = "webhook_sender"


def work(messages: Sequence[DeliverWebhook]) -> set[str]:
    """Look at each delivery, and send what is due."""
    return deliver_webhooks(
        webhook_wiring.webhooks(),
        webhook_wiring.post,
        webhook_wiring.senders(SOURCE),
        webhook_wiring.dead_letters(SOURCE),
        messages,
        clock,
        webhook_wiring.chance,
    )


handler = queue_handler(work, DeliverWebhook)
