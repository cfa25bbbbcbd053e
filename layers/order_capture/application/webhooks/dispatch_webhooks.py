"""Dispatch webhooks: each event becomes one delivery for each webhook that matches it.

An order's `callbackUrl` is served by its customer's callbacks, a webhook that is created here if missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from order_capture.application.batches import collecting_failures
from order_capture.application.messages import DeliverWebhook, ReceivedOrderEvent
from order_capture.application.ports import Clock, MessagePublisher
from order_capture.application.webhooks.ports import WebhookRepository
from order_capture.domain.webhooks import Delivery, Lane, Share, Webhook


@dataclass(frozen=True, slots=True)
class DispatchWebhooks:
    """Store the deliveries of events, and send them to their lanes."""

    webhooks: WebhookRepository
    lanes: Mapping[Lane, MessagePublisher]
    new_secret: Callable[[], str]
    clock: Clock

    def process(self, events: Sequence[ReceivedOrderEvent]) -> set[str]:
        """Store each delivery, then request it.

        Both may be repeated: an existing delivery does not change, and one requested twice is sent once.

        Returns:
            The ids of the orders whose events must be retried: their messages go back to the queue.
        """
        failed: set[str] = set()
        by_customer: dict[str, Sequence[Webhook]] = {}
        shares: dict[str, Share] = {}
        messages: dict[Lane, list[DeliverWebhook]] = {lane: [] for lane in Lane}
        with collecting_failures(failed, {event.order_id for event in events}):
            # Read after the events were received: no webhook that was registered before them is missing.
            may_have = self.webhooks.may_have_webhooks({event.customer_id for event in events})
            events = [event for event in events if event.callback_url or event.customer_id in may_have]
        for event in events:
            if event.order_id in failed:
                continue
            with collecting_failures(failed, {event.order_id}):
                if event.customer_id not in by_customer:
                    by_customer[event.customer_id] = self.webhooks.of_customer(event.customer_id)
                webhooks = by_customer[event.customer_id]
                if event.callback_url and not any(each.is_for_callbacks for each in webhooks):
                    callbacks = Webhook.for_callbacks(event.customer_id, self.new_secret(), self.clock())
                    self.webhooks.add(callbacks)  # unless another invocation has added it
                    webhooks = by_customer[event.customer_id] = [*webhooks, callbacks]
                for webhook in webhooks:
                    if not webhook.matches(event.type, event.callback_url):
                        continue
                    delivery = self._begin(webhook, event)
                    if event.customer_id not in shares:
                        shares[event.customer_id] = self.webhooks.share(event.customer_id)
                    lane = self._lane(webhook, delivery, shares[event.customer_id])
                    messages[lane].append(DeliverWebhook.of(delivery))
        for lane, deliveries in messages.items():
            failed |= self.lanes[lane].send(deliveries) if deliveries else set()
        return failed

    def _begin(self, webhook: Webhook, event: ReceivedOrderEvent) -> Delivery:
        delivery = Delivery.begin(
            webhook,
            event_id=event.event_id,
            event_type=event.type,
            event_time=event.time,
            order_id=event.order_id,
            body=event.body,
            correlation_id=event.correlation_id,
            now=self.clock(),
            callback_url=event.callback_url,
        )
        self.webhooks.add_delivery(delivery)
        return delivery

    def _lane(self, webhook: Webhook, delivery: Delivery, share: Share) -> Lane:
        """The quick lane, unless the receiver is slow or failing, or the customer has used up their share."""
        receiver = (
            self.webhooks.receiver(webhook.webhook_id, delivery.host)
            if delivery.callback_url
            else webhook.receiver
        )
        now = self.clock()
        return receiver.lane(now) if share.free(Lane.QUICK, now) else Lane.SLOW
