"""Deliver webhooks: look at a delivery as it stands, and do what is due.

A message only names a delivery. Whether it is sent now, later or never is in the delivery and its webhook, so
a message may come twice, late, or after a crash at any point: whoever sends first claims the delivery, for as
long as sending can take, and whoever comes then waits. A crash leaves the claim to expire and the message to
come again: the receiver may get it twice, under the same id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from order_capture.application.batches import given_back
from order_capture.application.messages import DeliverWebhook
from order_capture.application.ports import Clock, Outbox
from order_capture.application.webhook_ports import Chance, Post, Webhooks
from order_capture.domain.errors import TemporaryError
from order_capture.domain.signatures import signature
from order_capture.domain.times import after
from order_capture.domain.webhooks import (
    Answer,
    Delivery,
    DeliveryStatus,
    Host,
    Webhook,
    WebhookStatus,
    seconds_until,
    unix_seconds,
)

logger = logging.getLogger(__name__)

# Longer than a sender lives (template.yaml: 25 s): one whose claim has expired sends no more.
CLAIM_SECONDS = 30
MAX_DELAY = 900  # the longest that SQS delays a message: what is due later hops
# A webhook whose slots are all taken is asked again after a moment, for which an answer usually is enough.
SLOT_DELAY = 2

USER_AGENT = "order-capture-webhooks/1"
# Structured mode of the CloudEvents HTTP binding (1.0.2, section 3.2): SDKs recognise an event by it.
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Turn:
    """A delivery that is claimed for a try, its slot, and how its host stood if it is a callback."""

    webhook: Webhook
    delivery: Delivery
    slot: int
    host: Host | None


def deliver_webhooks(
    webhooks: Webhooks,
    post: Post,
    senders: Outbox,
    dead_letters: Outbox,
    messages: Sequence[DeliverWebhook],
    clock: Clock,
    chance: Chance,
) -> set[str]:
    """Do what is due for each delivery. Returns the orders whose messages must come again."""
    failed: set[str] = set()
    for message in messages:
        with given_back(failed, {message.order_id}):
            _look(webhooks, post, senders, dead_letters, message, clock, chance)
    return failed


def _look(
    webhooks: Webhooks,
    post: Post,
    senders: Outbox,
    dead_letters: Outbox,
    message: DeliverWebhook,
    clock: Clock,
    chance: Chance,
) -> None:
    webhook = webhooks.get(message.webhook_id)
    delivery = webhooks.delivery(message.webhook_id, message.delivery_id)
    if webhook is None or delivery is None:
        return None  # it was removed
    now = clock()
    if message.round > delivery.round:
        delivery = _saved(webhooks, delivery.again(message.round, now), delivery)
    if delivery.status is not DeliveryStatus.PENDING:
        return None
    if webhook.status is not WebhookStatus.ACTIVE:
        _saved(webhooks, delivery.end(DeliveryStatus.FAILED, "the webhook is disabled", now), delivery)
        return None
    wait = seconds_until(delivery.next_time, now)
    if wait > 0:
        return _send(senders, delivery, wait)
    host = None
    if delivery.callback_url:
        if webhooks.is_refused(webhook.webhook_id, delivery.order_id):
            _saved(webhooks, delivery.end(DeliveryStatus.FAILED, "the address is gone", now), delivery)
            return None
        host = webhooks.host(webhook.webhook_id, delivery.host)
    until = after(now, CLAIM_SECONDS)
    slot = _slot(webhooks, webhook, host, now, until)
    if slot is None:
        if delivery.is_overdue(now):
            return _give_up(webhooks, dead_letters, delivery, "not tried: too many failed before it", now)
        rest_until = max(webhook.rest_until, host.rest_until if host else "")
        wait = seconds_until(rest_until, now) if now < rest_until else 0
        return _send(senders, delivery, wait + SLOT_DELAY * (1 + chance()))
    turn = _Turn(webhook, replace(delivery, next_time=until), slot, host)
    if not webhooks.save_delivery(turn.delivery, over=delivery):
        # Somebody else has it, and their message is theirs.
        webhooks.release(webhook.webhook_id, slot, until, webhook.failures, webhook.rest_until)
        if host and host.failures:
            webhooks.save_host(host, over=host.claim(until), now=now)
        return None
    return _try(webhooks, post, senders, dead_letters, turn, clock, chance)


def _slot(webhooks: Webhooks, webhook: Webhook, host: Host | None, now: str, until: str) -> int | None:
    """Take a slot, and with it the host of a callback if that fails; None if there is none, or they rest."""
    slot = webhook.free_slot(now)
    if slot is None or (host and now < host.rest_until):
        return None
    if not webhooks.take(webhook.webhook_id, slot, now, until):
        return None
    if host and host.failures and not webhooks.save_host(host.claim(until), over=host, now=now):
        webhooks.release(webhook.webhook_id, slot, until, webhook.failures, webhook.rest_until)
        return None
    return slot


def _try(
    webhooks: Webhooks,
    post: Post,
    senders: Outbox,
    dead_letters: Outbox,
    turn: _Turn,
    clock: Clock,
    chance: Chance,
) -> None:
    webhook, delivery = turn.webhook, turn.delivery
    answer = post(delivery.callback_url or webhook.url, _headers(webhook, delivery, clock()), delivery.body)
    now = clock()
    logger.info(
        "tried a webhook: %s",
        answer,
        # A webhook's id begins with its customer's, which no log has.
        extra={"order_id": delivery.order_id, "delivery_id": delivery.delivery_id},
    )
    if answer.is_gone and delivery.callback_url:
        webhooks.refuse_order(webhook.webhook_id, delivery.order_id, now)
    elif answer.is_gone:
        webhooks.disable(webhook.webhook_id, now)
    _release(webhooks, turn, answer, now)
    if answer.is_success:
        webhooks.save_delivery(delivery.end(DeliveryStatus.DELIVERED, str(answer), now), over=delivery)
    elif answer.is_gone:
        webhooks.save_delivery(delivery.end(DeliveryStatus.FAILED, str(answer), now), over=delivery)
    elif delivery.is_overdue(now):
        _give_up(webhooks, dead_letters, delivery, str(answer), now)
    else:
        retried = delivery.retry(str(answer), now, chance(), answer.pause)
        if webhooks.save_delivery(retried, over=delivery):
            _send(senders, retried, seconds_until(retried.next_time, now))


def _release(webhooks: Webhooks, turn: _Turn, answer: Answer, now: str) -> None:
    """Give the slot back, and say how the receiver fares: the webhook, or the host of a callback."""
    webhook, host, until = turn.webhook, turn.host, turn.delivery.next_time
    if host is None and not answer.is_success:
        rest_until = webhook.rest(now, answer.pause)
        webhooks.release(webhook.webhook_id, turn.slot, until, webhook.failures + 1, rest_until)
        return
    webhooks.release(webhook.webhook_id, turn.slot, until, 0, "")
    if host is not None:
        # A host that wants no more of one order is well.
        stands = host.after_try(now, success=answer.is_success or answer.is_gone, pause=answer.pause)
        was = host.claim(until) if host.failures else host
        if stands != was:
            webhooks.save_host(stands, over=was, now=now)  # of two at once, the first may say it


def _give_up(webhooks: Webhooks, dead_letters: Outbox, delivery: Delivery, result: str, now: str) -> None:
    """The letter first: a delivery that has failed is not looked at again. Redriven, it begins anew."""
    if dead_letters.send([DeliverWebhook.of(delivery, round_=delivery.round + 1)]):
        raise TemporaryError("a delivery could not be put among the dead letters")
    webhooks.save_delivery(delivery.end(DeliveryStatus.FAILED, result, now), over=delivery)


def _send(senders: Outbox, delivery: Delivery, seconds: float) -> None:
    """Have it looked at again in so many seconds."""
    delay = min(math.ceil(seconds), MAX_DELAY)
    if senders.send([DeliverWebhook.of(delivery, delay=delay)]):
        raise TemporaryError("a delivery could not be asked for again")


def _saved(webhooks: Webhooks, delivery: Delivery, over: Delivery) -> Delivery:
    if not webhooks.save_delivery(delivery, over):
        raise TemporaryError("the delivery was changed by somebody else")
    return delivery


def _headers(webhook: Webhook, delivery: Delivery, now: str) -> dict[str, str]:
    timestamp = unix_seconds(now)
    return {
        "content-type": CONTENT_TYPE,
        "user-agent": USER_AGENT,
        "webhook-id": delivery.delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(webhook.secrets(now), delivery.delivery_id, timestamp, delivery.body),
    }
