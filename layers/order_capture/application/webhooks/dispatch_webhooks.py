"""Dispatch webhooks: each event becomes one delivery for each webhook that wants it.

An order's own address is served by its customer's callbacks, a webhook that is made here when there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from order_capture.application.batches import collecting_failures
from order_capture.application.messages import DeliverWebhook, ReceivedOrderEvent
from order_capture.application.ports import Clock, MessagePublisher
from order_capture.application.webhooks.ports import WebhookRepository
from order_capture.domain.webhooks import Delivery, Lane, Share, Webhook


def dispatch_webhooks(
    webhooks: WebhookRepository,
    lanes: Mapping[Lane, MessagePublisher],
    news: Sequence[ReceivedOrderEvent],
    new_secret: Callable[[], str],
    clock: Clock,
) -> set[str]:
    """Write down each delivery, then ask for it. Returns the orders whose events are to come again.

    Both may be done again: a delivery that is there stays as it is, and asked for twice it is made once.
    """
    failed: set[str] = set()
    of_customer: dict[str, Sequence[Webhook]] = {}
    shares: dict[str, Share] = {}
    messages: dict[Lane, list[DeliverWebhook]] = {lane: [] for lane in Lane}
    for event in news:
        with collecting_failures(failed, {event.order_id}):
            if event.customer_id not in of_customer:
                of_customer[event.customer_id] = webhooks.of_customer(event.customer_id)
            known = of_customer[event.customer_id]
            if event.callback_url and not any(each.is_for_callbacks for each in known):
                callbacks = Webhook.for_callbacks(event.customer_id, new_secret(), clock())
                webhooks.add(callbacks)  # unless somebody else just has
                known = of_customer[event.customer_id] = [*known, callbacks]
            for webhook in known:
                if not webhook.matches(event.type, event.callback_url):
                    continue
                delivery = Delivery.begin(
                    webhook,
                    event_id=event.event_id,
                    event_type=event.type,
                    event_time=event.time,
                    order_id=event.order_id,
                    body=event.body,
                    correlation_id=event.correlation_id,
                    now=clock(),
                    callback_url=event.callback_url,
                )
                webhooks.add_delivery(delivery)
                if event.customer_id not in shares:
                    shares[event.customer_id] = webhooks.share(event.customer_id)
                lane = _lane(webhooks, webhook, delivery, shares[event.customer_id], clock())
                messages[lane].append(DeliverWebhook.of(delivery))
    for lane, requested in messages.items():
        failed |= lanes[lane].send(requested) if requested else set()
    return failed


def _lane(webhooks: WebhookRepository, webhook: Webhook, delivery: Delivery, share: Share, now: str) -> Lane:
    """The quick one, unless the receiver is slow or fails, or the customer has used up their share of it."""
    receiver = (
        webhooks.receiver(webhook.webhook_id, delivery.host) if delivery.callback_url else webhook.receiver
    )
    return receiver.lane(now) if share.free(Lane.QUICK, now) else Lane.SLOW
