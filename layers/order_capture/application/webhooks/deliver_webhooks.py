"""Deliver webhooks: look at a delivery as it stands, and do what is due.

A message only names a delivery. Whether it is sent now, later or never is in the delivery and its webhook, so
a message may come twice, late, or after a crash at any point: whoever sends first claims the delivery, for as
long as sending can take, and whoever comes then waits. A crash leaves the claim to expire and the message to
come again: the receiver may get it twice, under the same id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from order_capture.application.batches import collecting_failures
from order_capture.application.messages import DeliverWebhook
from order_capture.application.ports import Clock, MessagePublisher
from order_capture.application.webhooks.ports import Post, Random, WebhookRepository
from order_capture.domain.errors import TransientError
from order_capture.domain.signatures import signature
from order_capture.domain.times import after
from order_capture.domain.webhooks import (
    QUICK_SECONDS,
    Delivery,
    DeliveryResponse,
    DeliveryStatus,
    Lane,
    ReceiverHealth,
    Share,
    Webhook,
    WebhookStatus,
    seconds_until,
    unix_seconds,
)

logger = logging.getLogger(__name__)

# Longer than a sender lives (template.yaml: 25 s): one whose claim has expired sends no more.
CLAIM_SECONDS = 30
MAX_DELAY = 900  # the longest that SQS delays a message: what is due later hops
# What finds no slot comes again after a moment, for which an answer usually is enough, and then after as long
# again as it has been due: what waits for long costs little, and leaves the senders to others.
SLOT_DELAY = 2

USER_AGENT = "order-capture-webhooks/1"
# Structured mode of the CloudEvents HTTP binding (1.0.2, section 3.2): SDKs recognise an event by it.
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """A sender of one of the lanes. A receiver has `timeout` seconds to answer."""

    lane: Lane
    webhooks: WebhookRepository
    post: Post
    lanes: Mapping[Lane, MessagePublisher]
    dead_letters: MessagePublisher
    clock: Clock
    chance: Random
    timeout: float


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A delivery that is claimed for a try, its slot, and how its receiver stood."""

    webhook: Webhook
    delivery: Delivery
    slot: int
    share: Share
    receiver: ReceiverHealth


def deliver_webhooks(sender: WebhookSender, messages: Sequence[DeliverWebhook]) -> set[str]:
    """Do what is due for each delivery. Returns the orders whose messages must come again."""
    failed: set[str] = set()
    for message in messages:
        with collecting_failures(failed, {message.order_id}):
            _look(sender, message)
    return failed


def _look(sender: WebhookSender, message: DeliverWebhook) -> None:
    webhooks = sender.webhooks
    webhook = webhooks.get(message.webhook_id)
    delivery = webhooks.delivery(message.webhook_id, message.delivery_id)
    if webhook is None or delivery is None:
        return None  # it was removed
    now = sender.clock()
    if message.attempt_series > delivery.attempt_series:
        delivery = _saved(webhooks, delivery.restart(message.attempt_series, now), delivery)
    if delivery.status is not DeliveryStatus.PENDING:
        return None
    if webhook.status is not WebhookStatus.ACTIVE:
        _saved(webhooks, delivery.end(DeliveryStatus.FAILED, "the webhook is disabled", now), delivery)
        return None
    receiver = webhook.receiver
    if delivery.callback_url:
        if webhooks.is_refused(webhook.webhook_id, delivery.order_id):
            _saved(webhooks, delivery.end(DeliveryStatus.FAILED, "the address is gone", now), delivery)
            return None
        receiver = webhooks.receiver(webhook.webhook_id, delivery.host)
    lane, wait = receiver.lane(now), seconds_until(delivery.next_time, now)
    if wait > 0:
        return _send(sender, lane, delivery, wait)
    if sender.lane is Lane.QUICK and lane is Lane.SLOW:
        return _send(sender, lane, delivery, 0)
    until = after(now, CLAIM_SECONDS)
    share = webhooks.share(webhook.customer_id)
    slot = None if now < receiver.backoff_until else _slot(sender, share, receiver, now, until)
    if slot is None:
        if delivery.is_overdue(now):
            return _give_up(sender, delivery, "not tried: too many failed before it", now)
        rest = seconds_until(receiver.backoff_until, now) if now < receiver.backoff_until else 0
        again = SLOT_DELAY * (1 + sender.chance()) - wait
        return _send(sender, sender.lane, delivery, rest + again)
    turn = _Attempt(webhook, replace(delivery, next_time=until), slot, share, receiver)
    if not webhooks.save_delivery(turn.delivery, expected=delivery):
        # Somebody else has it, and their message is theirs.
        webhooks.release(webhook.customer_id, sender.lane, slot, until, "")
        if receiver.failures:
            webhooks.save_receiver(receiver, expected=receiver.claim(until), now=now)
        return None
    return _try(sender, turn)


def _slot(sender: WebhookSender, share: Share, receiver: ReceiverHealth, now: str, until: str) -> int | None:
    """Take one of the customer's slots, and with it the receiver if that fails; None if there is none."""
    webhooks, customer_id, lane = sender.webhooks, share.customer_id, sender.lane
    free = share.free(lane, now)
    first = int(sender.chance() * len(free))  # of many at once, few try for the same
    for slot in free[first:] + free[:first]:
        if not webhooks.take(customer_id, lane, slot, now, until):
            continue
        if receiver.failures and not webhooks.save_receiver(
            receiver.claim(until), expected=receiver, now=now
        ):
            webhooks.release(customer_id, lane, slot, until, "")
            return None
        return slot
    return None


def _try(sender: WebhookSender, turn: _Attempt) -> None:
    webhooks, webhook, delivery = sender.webhooks, turn.webhook, turn.delivery
    patience = min(QUICK_SECONDS, sender.timeout) if sender.lane is Lane.QUICK else sender.timeout
    began = sender.clock()
    url = delivery.callback_url or webhook.url
    answer = sender.post(url, _headers(webhook, delivery, began), delivery.body, patience)
    now = sender.clock()
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
    too_slow = answer.is_late and patience < sender.timeout
    receiver = _release(sender, turn, answer, seconds_until(now, began), now, too_slow=too_slow)
    if answer.is_success:
        webhooks.save_delivery(delivery.end(DeliveryStatus.DELIVERED, str(answer), now), expected=delivery)
    elif answer.is_gone:
        webhooks.save_delivery(delivery.end(DeliveryStatus.FAILED, str(answer), now), expected=delivery)
    elif too_slow:
        if webhooks.save_delivery(handed := delivery.hand_over(str(answer), now), expected=delivery):
            _send(sender, Lane.SLOW, handed, 0)
    elif delivery.is_overdue(now):
        _give_up(sender, delivery, str(answer), now)
    else:
        retried = delivery.retry(str(answer), now, sender.chance(), answer.pause)
        if webhooks.save_delivery(retried, expected=delivery):
            _send(sender, receiver.lane(now), retried, seconds_until(retried.next_time, now))


def _release(
    sender: WebhookSender,
    turn: _Attempt,
    answer: DeliveryResponse,
    seconds: float,
    now: str,
    *,
    too_slow: bool,
) -> ReceiverHealth:
    """Give the slot back, and say how the receiver fares."""
    receiver, until, share, lane = turn.receiver, turn.delivery.next_time, turn.share, sender.lane
    free_from = after(now, share.rest(lane, seconds))
    answer_ms = share.after_answer(seconds) if lane is Lane.QUICK else None
    sender.webhooks.release(share.customer_id, lane, turn.slot, until, free_from, answer_ms)
    was = receiver.claim(until) if receiver.failures else receiver
    stands = receiver.found_slow(now) if too_slow else receiver.after_try(answer, seconds, now)
    if stands != was:
        sender.webhooks.save_receiver(stands, expected=was, now=now)  # of two at once, the first may say it
    return stands


def _give_up(sender: WebhookSender, delivery: Delivery, result: str, now: str) -> None:
    """The letter first: a delivery that has failed is not looked at again. Redriven, it begins anew."""
    if sender.dead_letters.send([DeliverWebhook.of(delivery, attempt_series=delivery.attempt_series + 1)]):
        raise TransientError("a delivery could not be put among the dead letters")
    sender.webhooks.save_delivery(delivery.end(DeliveryStatus.FAILED, result, now), expected=delivery)


def _send(sender: WebhookSender, lane: Lane, delivery: Delivery, seconds: float) -> None:
    """Have it looked at again in so many seconds."""
    delay = min(math.ceil(seconds), MAX_DELAY)
    if sender.lanes[lane].send([DeliverWebhook.of(delivery, delay=delay)]):
        raise TransientError("a delivery could not be asked for again")


def _saved(webhooks: WebhookRepository, delivery: Delivery, expected: Delivery) -> Delivery:
    if not webhooks.save_delivery(delivery, expected):
        raise TransientError("the delivery was changed by somebody else")
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
