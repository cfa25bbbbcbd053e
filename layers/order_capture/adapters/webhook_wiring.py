"""Which adapter stands behind which port of the webhooks. Apart from `wiring`: most functions know none."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping

from order_capture.adapters import posting, wiring
from order_capture.adapters.dynamodb_webhooks import DynamoWebhooks
from order_capture.adapters.outboxes import QueueOutbox
from order_capture.adapters.runtime import client, clock, own_port, pause, setting, takes_loopback
from order_capture.domain.signatures import SECRET_BYTES, secret_of
from order_capture.domain.webhooks import Answer


def webhooks() -> DynamoWebhooks:
    """The webhooks and their deliveries."""
    return DynamoWebhooks(client("dynamodb"), setting("WEBHOOK_TABLE"), clock, pause)


def senders(source: str) -> QueueOutbox:
    """The function that sends webhooks."""
    return QueueOutbox(client("sqs"), setting("WEBHOOK_SENDER_QUEUE_URL"), wiring.sender(source))


def dead_letters(source: str) -> QueueOutbox:
    """Where a delivery ends that could not be made."""
    return QueueOutbox(client("sqs"), setting("WEBHOOK_SENDER_DLQ_URL"), wiring.sender(source))


def post(url: str, headers: Mapping[str, str], body: str) -> Answer:
    """POST a webhook."""
    timeout = float(setting("WEBHOOK_TIMEOUT_SECONDS"))
    return posting.post(url, headers, body, timeout=timeout, loopback=takes_loopback(), own_port=own_port())


def chance() -> float:
    """A random number from 0 to 1."""
    return random.random()


def new_secret() -> str:
    """A secret that nobody can guess."""
    return secret_of(os.urandom(SECRET_BYTES))
