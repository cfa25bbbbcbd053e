"""Replay a delivery: send it once more, from its first attempt."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.idempotency import Answered, RequestKey, once
from order_capture.application.messages import DeliverWebhook
from order_capture.application.ports import MessagePublisher
from order_capture.application.webhooks.manage_webhooks import find_webhook
from order_capture.application.webhooks.ports import WebhookRepository
from order_capture.domain.errors import NotFoundError, StatusConflictError, TransientError
from order_capture.domain.webhooks import Delivery, WebhookStatus


@dataclass(frozen=True, slots=True)
class ReplayDelivery:
    """Restart deliveries of webhooks that the caller can access."""

    webhooks: WebhookRepository
    deliveries: MessagePublisher

    def replay(
        self, webhook_id: str, delivery_id: str, caller: Caller, key: RequestKey | None = None
    ) -> Answered[Delivery]:
        """Send a delivery once more, from its first attempt; returns it as it was before.

        Its id stays the same, so that a receiver recognises it. A key is recorded first, and the delivery is
        requested every time that the key comes: a series of attempts starts only once, however often it is
        requested.

        Raises:
            IdempotencyConflictError: the key was used with a different request.
            NotFoundError: the caller can access none with this id.
            StatusConflictError: the webhook is disabled, or the order's callback URL refuses its events.
            TransientError: it could not be requested.
        """

        def act() -> Delivery:
            webhook = find_webhook(self.webhooks, webhook_id, caller)
            delivery = self.webhooks.delivery(webhook_id, delivery_id)
            if delivery is None:
                raise NotFoundError("There is no such delivery.")
            if webhook.status is not WebhookStatus.ACTIVE:
                raise StatusConflictError(f"The webhook is {webhook.status}.")
            if delivery.callback_url and self.webhooks.is_refused(webhook_id, delivery.order_id):
                raise StatusConflictError(
                    "The order's callbackUrl responded with 410, so its callbacks have ended."
                )
            if key is not None:
                self.webhooks.answer_with(delivery, key)
            return delivery

        answered = once(key, self.webhooks.answered_delivery, act)
        delivery = answered.value
        restart = DeliverWebhook.of(delivery, attempt_series=delivery.attempt_series + 1)
        if self.deliveries.send([restart]):
            raise TransientError("The delivery could not be restarted. Send the same request again.")
        return answered
