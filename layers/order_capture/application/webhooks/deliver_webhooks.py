"""Deliver webhooks: read a delivery's current state, and send, postpone or end it.

A message only names a delivery. Whether it is sent now, later or never depends on the delivery and its
webhook, so a message may come twice, late, or after a crash at any point. The first sender claims the
delivery for as long as sending can take, and a second one waits. After a crash the claim expires and the
message is delivered again: the receiver may get it twice, with the same id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from order_capture.application.messages import DeliverWebhook
from order_capture.application.ports import Clock, MessagePublisher, Random
from order_capture.application.webhooks.ports import Post, WebhookRepository
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

# Longer than a sender's timeout (template.yaml: 25 s): a sender whose claim has expired is no longer running.
CLAIM_SECONDS = 30
# Seconds after which a delivery that found no slot is retried: enough for most answers. After that, each wait
# is as long as the delivery has been due, so that long waits cost little and leave the senders to others.
SLOT_DELAY = 2

USER_AGENT = "order-capture-webhooks/1"
# Structured mode of the CloudEvents HTTP binding (1.0.2, section 3.2), by which SDKs recognise an event.
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A delivery that is claimed for an attempt, its slot, and its receiver's health."""

    webhook: Webhook
    delivery: Delivery
    slot: int
    share: Share
    receiver: ReceiverHealth


@dataclass(frozen=True, slots=True)
class DeliverWebhooks:
    """Send the due deliveries of one lane, and postpone the others.

    A receiver has `timeout` seconds to answer. A message is delayed by at most `max_delay` seconds; a
    delivery that is due later is postponed again.
    """

    lane: Lane
    webhooks: WebhookRepository
    post: Post
    lanes: Mapping[Lane, MessagePublisher]
    dead_letters: MessagePublisher
    clock: Clock
    random: Random
    timeout: float
    max_delay: int

    def process(self, message: DeliverWebhook) -> None:
        """Send, postpone or end a delivery.

        Raises:
            TransientError: another sender changed it meanwhile, or its next message could not be sent.
        """
        webhooks = self.webhooks
        webhook = webhooks.get(message.webhook_id)
        delivery = webhooks.delivery(message.webhook_id, message.delivery_id)
        if webhook is None or delivery is None:
            return None  # the webhook was removed
        now = self.clock()
        if message.attempt_series > delivery.attempt_series:
            delivery = self._save(delivery.restart(message.attempt_series, now), delivery)
        if delivery.status is not DeliveryStatus.PENDING:
            return None
        if webhook.status is not WebhookStatus.ACTIVE:
            self._save(delivery.end(DeliveryStatus.FAILED, "the webhook is disabled", now), delivery)
            return None
        receiver = webhook.receiver
        if delivery.callback_url:
            if webhooks.is_refused(webhook.webhook_id, delivery.order_id):
                self._save(delivery.end(DeliveryStatus.FAILED, "the address is gone", now), delivery)
                return None
            receiver = webhooks.receiver(webhook.webhook_id, delivery.host)
        lane, wait = receiver.lane(now), seconds_until(delivery.next_time, now)
        if wait > 0:
            return self._postpone(lane, delivery, wait)
        if self.lane is Lane.QUICK and lane is Lane.SLOW:
            return self._postpone(lane, delivery, 0)
        until = after(now, CLAIM_SECONDS)
        share = webhooks.share(webhook.customer_id)
        slot = None if now < receiver.backoff_until else self._take_slot(share, receiver, now, until)
        if slot is None:
            if delivery.is_overdue(now):
                return self._give_up(delivery, "not tried: too many failed before it", now)
            backoff = seconds_until(receiver.backoff_until, now) if now < receiver.backoff_until else 0
            return self._postpone(self.lane, delivery, backoff + SLOT_DELAY * (1 + self.random()) - wait)
        attempt = _Attempt(webhook, replace(delivery, next_time=until), slot, share, receiver)
        if not webhooks.save_delivery(attempt.delivery, expected=delivery):
            # Another sender has claimed it, and has its message.
            webhooks.release(webhook.customer_id, self.lane, slot, until, "")
            if receiver.failures:
                webhooks.save_receiver(receiver, expected=receiver.claim(until), now=now)
            return None
        return self._attempt(attempt)

    def _take_slot(self, share: Share, receiver: ReceiverHealth, now: str, until: str) -> int | None:
        """Take one of the customer's slots, and claim a failing receiver; None if none is free."""
        webhooks, customer_id, lane = self.webhooks, share.customer_id, self.lane
        free = share.free(lane, now)
        first = int(self.random() * len(free))  # random, so that few concurrent senders try the same slot
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

    def _attempt(self, attempt: _Attempt) -> None:
        webhooks, webhook, delivery = self.webhooks, attempt.webhook, attempt.delivery
        timeout = min(QUICK_SECONDS, self.timeout) if self.lane is Lane.QUICK else self.timeout
        began = self.clock()
        url = delivery.callback_url or webhook.url
        response = self.post(url, _headers(webhook, delivery, began), delivery.body, timeout)
        now = self.clock()
        logger.info(
            "sent a webhook: %s",
            response,
            # The webhook's id is not logged, since it begins with its customer's.
            extra={"order_id": delivery.order_id, "delivery_id": delivery.delivery_id},
        )
        if response.is_gone and delivery.callback_url:
            webhooks.refuse_order(webhook.webhook_id, delivery.order_id, now)
        elif response.is_gone:
            webhooks.disable(webhook.webhook_id, now)
        too_slow = response.is_late and timeout < self.timeout
        receiver = self._release(attempt, response, seconds_until(now, began), now, too_slow=too_slow)
        if response.is_success:
            delivered = delivery.end(DeliveryStatus.DELIVERED, str(response), now)
            webhooks.save_delivery(delivered, expected=delivery)
        elif response.is_gone:
            webhooks.save_delivery(delivery.end(DeliveryStatus.FAILED, str(response), now), expected=delivery)
        elif too_slow:
            if webhooks.save_delivery(moved := delivery.move_to_slow(str(response), now), expected=delivery):
                self._postpone(Lane.SLOW, moved, 0)
        elif delivery.is_overdue(now):
            self._give_up(delivery, str(response), now)
        else:
            retried = delivery.retry(str(response), now, self.random(), response.pause)
            if webhooks.save_delivery(retried, expected=delivery):
                self._postpone(receiver.lane(now), retried, seconds_until(retried.next_time, now))

    def _release(
        self, attempt: _Attempt, response: DeliveryResponse, seconds: float, now: str, *, too_slow: bool
    ) -> ReceiverHealth:
        """Release the slot, and save the receiver's health; returns it."""
        receiver, until, share = attempt.receiver, attempt.delivery.next_time, attempt.share
        free_from = after(now, share.backoff(self.lane, seconds))
        answer_ms = share.after_answer(seconds) if self.lane is Lane.QUICK else None
        self.webhooks.release(share.customer_id, self.lane, attempt.slot, until, free_from, answer_ms)
        before = receiver.claim(until) if receiver.failures else receiver
        health = receiver.found_slow(now) if too_slow else receiver.after_attempt(response, seconds, now)
        if health != before:
            # Of two concurrent writes, the first one wins.
            self.webhooks.save_receiver(health, expected=before, now=now)
        return health

    def _give_up(self, delivery: Delivery, result: str, now: str) -> None:
        """Dead-letter a delivery, then fail it: a failed one is not read again. A redrive restarts it."""
        letter = DeliverWebhook.of(delivery, attempt_series=delivery.attempt_series + 1)
        if self.dead_letters.send([letter]):
            raise TransientError("a delivery could not be dead-lettered")
        self.webhooks.save_delivery(delivery.end(DeliveryStatus.FAILED, result, now), expected=delivery)

    def _postpone(self, lane: Lane, delivery: Delivery, seconds: float) -> None:
        """Send a message to process the delivery again after a delay."""
        delay = min(math.ceil(seconds), self.max_delay)
        if self.lanes[lane].send([DeliverWebhook.of(delivery, delay=delay)]):
            raise TransientError("a delivery could not be postponed")

    def _save(self, delivery: Delivery, expected: Delivery) -> Delivery:
        if not self.webhooks.save_delivery(delivery, expected):
            raise TransientError("the delivery was changed by another sender")
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
