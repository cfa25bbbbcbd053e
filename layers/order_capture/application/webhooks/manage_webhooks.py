"""Register, get, rotate and remove webhooks, and list their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from order_capture.application.callers import Caller
from order_capture.application.idempotency import Answered, RequestKey, once
from order_capture.application.ports import Clock, VersionConflictError
from order_capture.application.webhooks.ports import WebhookRepository
from order_capture.domain.errors import CustomerForbiddenError, NotFoundError, StatusConflictError
from order_capture.domain.webhooks import Delivery, Webhook, customer_id_of, is_for_callbacks

# Each event becomes a delivery per webhook: this limits the deliveries of one order.
MAX_WEBHOOKS = 10


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, newest first, and the id of the last if there are more."""

    deliveries: Sequence[Delivery]
    next: str | None


@dataclass(frozen=True, slots=True)
class ManageWebhooks:
    """Read and change the webhooks that a caller can access."""

    webhooks: WebhookRepository
    clock: Clock

    def register(self, webhook: Webhook, caller: Caller, key: RequestKey | None = None) -> Answered[Webhook]:
        """Register a webhook. A repeated request gets the first answer, including its secret.

        Raises:
            CustomerForbiddenError: it is for another customer.
            IdempotencyConflictError: the key was used with a different request.
            WebhookLimitError: the customer already has the maximum number.
        """

        def act() -> Webhook:
            if not caller.can_access(webhook.customer_id):
                raise CustomerForbiddenError
            self.webhooks.register(webhook, MAX_WEBHOOKS, key)
            return webhook

        return once(key, self.webhooks.answered_webhook, act)

    def list_all(self, customer_id: str, caller: Caller) -> Sequence[Webhook]:
        """Return a customer's webhooks, in the order in which they were registered.

        Raises:
            CustomerForbiddenError: they belong to another customer.
        """
        if not caller.can_access(customer_id):
            raise CustomerForbiddenError
        webhooks = self.webhooks.of_customer(customer_id)
        return sorted(webhooks, key=lambda each: (each.create_time, each.webhook_id))

    def get(self, webhook_id: str, caller: Caller) -> Webhook:
        """Return a webhook.

        Raises:
            NotFoundError: the caller can access none with this id.
        """
        return find_webhook(self.webhooks, webhook_id, caller)

    def remove(self, webhook_id: str, caller: Caller, key: RequestKey | None = None) -> Answered[Webhook]:
        """Remove a webhook: nothing more is sent to it, not even deliveries that wait for a retry.

        Raises:
            IdempotencyConflictError: the key was used with a different request.
            NotFoundError: the caller can access none with this id.
        """

        def act() -> Webhook:
            # Without the secret, which is no longer needed and is not stored with the answer.
            webhook = replace(self.get(webhook_id, caller), secret="", previous_secret="")  # nosec B106 # none
            if not self.webhooks.remove(webhook, key):
                raise NotFoundError("There is no such webhook.")
            return webhook

        return once(key, self.webhooks.answered_webhook, act)

    def rotate_secret(
        self, webhook_id: str, caller: Caller, secret: str, key: RequestKey | None = None
    ) -> Answered[Webhook]:
        """Give a webhook a new secret; for a day, the previous one signs as well.

        It creates a customer's callbacks, if no order has needed them yet.

        Raises:
            IdempotencyConflictError: the key was used with a different request.
            NotFoundError: the caller can access none with this id.
            StatusConflictError: it is disabled, or another request is rotating it.
        """

        def act() -> Webhook:
            now = self.clock()
            customer_id = customer_id_of(webhook_id)
            if is_for_callbacks(webhook_id) and caller.can_access(customer_id):
                callbacks = Webhook.for_callbacks(customer_id, secret, now)
                if self.webhooks.add(callbacks, key) is None:
                    return callbacks
            webhook = self.get(webhook_id, caller)
            rotated = webhook.rotate(secret, now)
            try:
                self.webhooks.rotate(rotated, expected=webhook.secret, key=key)
            except VersionConflictError as error:
                raise StatusConflictError(
                    "The secret was changed by another request at this moment."
                ) from error
            return rotated

        return once(key, self.webhooks.answered_webhook, act)

    def list_deliveries(
        self, webhook_id: str, caller: Caller, before: str | None, limit: int
    ) -> DeliveryPage:
        """Return a page of a webhook's deliveries.

        Raises:
            NotFoundError: the caller can access no webhook with this id.
        """
        self.get(webhook_id, caller)
        # One more than a page holds, to see whether there is another page.
        found = self.webhooks.deliveries(webhook_id, before, limit + 1)
        return DeliveryPage(found[:limit], found[limit - 1].delivery_id if len(found) > limit else None)


def find_webhook(webhooks: WebhookRepository, webhook_id: str, caller: Caller) -> Webhook:
    """Return a webhook.

    Raises:
        NotFoundError: the caller can access none with this id.
    """
    webhook = webhooks.get(webhook_id) if caller.can_access(customer_id_of(webhook_id)) else None
    if webhook is None:
        raise NotFoundError("There is no such webhook.")
    return webhook
