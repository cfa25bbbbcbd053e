"""webhook_sender: sends the due deliveries, and postpones the others.

Two queues feed it, the quick lane and the slow lane; neither takes senders from the other.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.entrypoints.sqs import record_handler
from order_capture import bootstrap
from order_capture.application.messages import DeliverWebhook
from order_capture.domain.webhooks import Lane


def process(lane: Lane, message: DeliverWebhook) -> None:
    """Send the delivery, if it is due."""
    bootstrap.deliver_webhooks(lane).process(message)


HANDLERS = {
    lane: record_handler(
        partial(process, lane), DeliverWebhook, prepare=partial(bootstrap.deliver_webhooks, lane)
    )
    for lane in Lane
}


def handler(event: dict[str, Any], context: LambdaContext | None) -> dict[str, Any]:
    """Process the messages in the lane of their queue."""
    return HANDLERS[bootstrap.webhook_lane_of(event)](event, context)
