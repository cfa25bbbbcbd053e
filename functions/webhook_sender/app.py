"""webhook_sender: sends each delivery that is due, and has the others looked at again when they are.

Two queues feed it, the quick lane and the slow one, and neither takes senders from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from order_capture import bootstrap
from order_capture.application.messages import DeliverWebhook
from order_capture.application.webhooks.deliver_webhooks import deliver_webhooks
from order_capture.domain.webhooks import Lane
from order_capture.entrypoints.sqs import queue_handler

SOURCE = "webhook_sender"


def work(lane: Lane, messages: Sequence[DeliverWebhook]) -> set[str]:
    """Look at each delivery, and send what is due."""
    return deliver_webhooks(bootstrap.webhook_sender(lane, SOURCE), messages)


HANDLERS = {lane: queue_handler(partial(work, lane), DeliverWebhook) for lane in Lane}


def handler(event: dict[str, Any], context: object) -> dict[str, list[dict[str, str]]]:
    """Work in the lane that the messages came by."""
    return HANDLERS[bootstrap.webhook_lane_of(event)](event, context)
