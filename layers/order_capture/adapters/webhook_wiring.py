"""Which adapter stands behind which port of the webhooks. Apart from `wiring`: most functions know none."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

from order_capture.adapters import posting, wiring
from order_capture.adapters.dynamodb_webhooks import DynamoWebhooks
from order_capture.adapters.outboxes import QueueOutbox
from order_capture.adapters.runtime import client, clock, own_port, pause, setting, takes_loopback
from order_capture.application.deliver_webhooks import Sender
from order_capture.domain.signatures import SECRET_BYTES, secret_of
from order_capture.domain.webhooks import Answer, Lane


def webhooks() -> DynamoWebhooks:
    """The webhooks and their deliveries."""
    return DynamoWebhooks(client("dynamodb"), setting("WEBHOOK_TABLE"), clock, pause)


def senders(source: str) -> QueueOutbox:
    """The function that sends webhooks, by its quick lane."""
    return QueueOutbox(client("sqs"), setting("WEBHOOK_SENDER_QUEUE_URL"), wiring.sender(source))


def lanes(source: str) -> dict[Lane, QueueOutbox]:
    """The function that sends webhooks, by each of its lanes."""
    slow = QueueOutbox(client("sqs"), setting("WEBHOOK_SLOW_QUEUE_URL"), wiring.sender(source))
    return {Lane.QUICK: senders(source), Lane.SLOW: slow}


def lane_of(event: dict[str, Any]) -> Lane:
    """The lane whose queue a batch is from: all of it is from one."""
    queue = event["Records"][0]["eventSourceARN"].rpartition(":")[2]
    return Lane.SLOW if queue == setting("WEBHOOK_SLOW_QUEUE_URL").rpartition("/")[2] else Lane.QUICK


def sender(lane: Lane, source: str) -> Sender:
    """A sender of one of the lanes."""
    return Sender(
        lane=lane,
        webhooks=webhooks(),
        post=post,
        lanes=lanes(source),
        dead_letters=dead_letters(source),
        clock=clock,
        chance=chance,
        timeout=float(setting("WEBHOOK_TIMEOUT_SECONDS")),
    )


def dead_letters(source: str) -> QueueOutbox:
    """Where a delivery ends that could not be made."""
    return QueueOutbox(client("sqs"), setting("WEBHOOK_SENDER_DLQ_URL"), wiring.sender(source))


def post(url: str, headers: Mapping[str, str], body: str, timeout: float) -> Answer:
    """POST a webhook."""
    return posting.post(url, headers, body, timeout=timeout, loopback=takes_loopback(), own_port=own_port())


def chance() -> float:
    """A random number from 0 to 1."""
    return random.random()


def new_secret() -> str:
    """A secret that nobody can guess."""
    return secret_of(os.urandom(SECRET_BYTES))
