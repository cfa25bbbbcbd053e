"""Register, look up, rotate and remove webhooks, see what was delivered, and have it delivered again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from order_capture.application.callers import Caller
from order_capture.application.idempotency import Answered, RequestKey, once
from order_capture.application.messages import DeliverWebhook
from order_capture.application.ports import Clock, MessagePublisher, VersionConflictError
from order_capture.application.webhooks.ports import WebhookRepository
from order_capture.domain.errors import (
    CustomerForbiddenError,
    NotFoundError,
    StatusConflictError,
    TransientError,
)
from order_capture.domain.webhooks import Delivery, Webhook, WebhookStatus, customer_id_of, is_for_callbacks

# Each event becomes as many deliveries: what one order can set off is bounded by this.
MAX_WEBHOOKS = 10


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, newest first, and the id of the last if there are more."""

    deliveries: Sequence[Delivery]
    next: str | None


def register_webhook(
    webhooks: WebhookRepository, webhook: Webhook, caller: Caller, key: RequestKey | None = None
) -> Answered[Webhook]:
    """Register it. A repeated request is answered with the first one, its secret included.

    Raises:
        ForeignCustomerError: it is in another customer's name.
        KeyReusedError: the key came before with another request.
        WebhookLimitError: the customer has as many as one may have.
    """

    def act() -> Webhook:
        if not caller.can_access(webhook.customer_id):
            raise CustomerForbiddenError
        webhooks.register(webhook, MAX_WEBHOOKS, key)
        return webhook

    return once(key, webhooks.answered_webhook, act)


def list_webhooks(webhooks: WebhookRepository, customer_id: str, caller: Caller) -> Sequence[Webhook]:
    """A customer's webhooks, in the order in which they were registered.

    Raises:
        ForeignCustomerError: they are of a customer that is not the caller.
    """
    if not caller.can_access(customer_id):
        raise CustomerForbiddenError
    return sorted(webhooks.of_customer(customer_id), key=lambda each: (each.create_time, each.webhook_id))


def get_webhook(webhooks: WebhookRepository, webhook_id: str, caller: Caller) -> Webhook:
    """A webhook.

    Raises:
        NotFoundError: there is none of that id that the caller reaches.
    """
    webhook = webhooks.get(webhook_id) if caller.can_access(customer_id_of(webhook_id)) else None
    if webhook is None:
        raise NotFoundError("There is no such webhook.")
    return webhook


def remove_webhook(
    webhooks: WebhookRepository, webhook_id: str, caller: Caller, key: RequestKey | None = None
) -> Answered[Webhook]:
    """Remove a webhook: nothing more is sent to it, not even what is on its way to a next try.

    Raises:
        KeyReusedError: the key came before with another request.
        NotFoundError: there is none of that id that the caller reaches.
    """

    def act() -> Webhook:
        # As it was, but for its secret, which has no use any more and is not kept with the answer.
        webhook = replace(get_webhook(webhooks, webhook_id, caller), secret="", previous_secret="")
        if not webhooks.remove(webhook, key):
            raise NotFoundError("There is no such webhook.")
        return webhook

    return once(key, webhooks.answered_webhook, act)


def rotate_secret(
    webhooks: WebhookRepository,
    webhook_id: str,
    caller: Caller,
    secret: str,
    clock: Clock,
    key: RequestKey | None = None,
) -> Answered[Webhook]:
    """Give a webhook a new secret; the one before signs along for a day.

    It makes a customer's callbacks, if no order has asked for them yet.

    Raises:
        KeyReusedError: the key came before with another request.
        NotFoundError: there is none of that id that the caller reaches.
        StatusConflictError: it is turned off, or is being rotated by somebody else.
    """

    def act() -> Webhook:
        now = clock()
        customer_id = customer_id_of(webhook_id)
        if is_for_callbacks(webhook_id) and caller.can_access(customer_id):
            callbacks = Webhook.for_callbacks(customer_id, secret, now)
            if webhooks.add(callbacks, key) is None:
                return callbacks
        webhook = get_webhook(webhooks, webhook_id, caller)
        rotated = webhook.rotate(secret, now)
        try:
            webhooks.rotate(rotated, expected=webhook.secret, key=key)
        except VersionConflictError as error:
            raise StatusConflictError("The secret was changed by another request at this moment.") from error
        return rotated

    return once(key, webhooks.answered_webhook, act)


def list_deliveries(
    webhooks: WebhookRepository, webhook_id: str, caller: Caller, before: str | None, limit: int
) -> DeliveryPage:
    """A page of what was, or is to be, delivered to a webhook.

    Raises:
        NotFoundError: there is no webhook of that id that the caller reaches.
    """
    get_webhook(webhooks, webhook_id, caller)
    # One more than a page takes tells whether there is another page.
    found = webhooks.deliveries(webhook_id, before, limit + 1)
    return DeliveryPage(found[:limit], found[limit - 1].delivery_id if len(found) > limit else None)


def replay_delivery(
    webhooks: WebhookRepository,
    senders: MessagePublisher,
    webhook_id: str,
    delivery_id: str,
    caller: Caller,
    key: RequestKey | None = None,
) -> Answered[Delivery]:
    """Have a delivery made once more, from the beginning; how it stood until now is returned.

    Its id stays the same, so that a receiver which has it can tell. A key is recorded first, and asked for
    again each time that it comes: the round that it asks for is begun once, however often it is asked for.

    Raises:
        KeyReusedError: the key came before with another request.
        NotFoundError: there is none of that id that the caller reaches.
        StatusConflictError: the webhook is turned off, or the order's own address wants no more of it.
        TemporaryError: it could not be asked for.
    """

    def act() -> Delivery:
        webhook = get_webhook(webhooks, webhook_id, caller)
        delivery = webhooks.delivery(webhook_id, delivery_id)
        if delivery is None:
            raise NotFoundError("There is no such delivery.")
        if webhook.status is not WebhookStatus.ACTIVE:
            raise StatusConflictError(f"The webhook is {webhook.status}.")
        if delivery.callback_url and webhooks.is_refused(webhook_id, delivery.order_id):
            raise StatusConflictError("The order's callbackUrl has answered 410 and is sent nothing more.")
        if key is not None:
            webhooks.answer_with(delivery, key)
        return delivery

    answered = once(key, webhooks.answered_delivery, act)
    delivery = answered.value
    if senders.send([DeliverWebhook.of(delivery, attempt_series=delivery.attempt_series + 1)]):
        raise TransientError("The delivery could not be begun again. Send the same request again.")
    return answered
