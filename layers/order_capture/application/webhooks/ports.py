"""The ports of the webhooks' use cases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.domain.webhooks import Delivery, DeliveryResponse, Lane, ReceiverHealth, Share, Webhook

Post = Callable[[str, Mapping[str, str], str, float], DeliveryResponse]
"""POSTs a body with headers to a URL, with a timeout in seconds. It never raises: a failure is a response,
too."""


class WebhookRepository(Protocol):
    """Stores webhooks and their deliveries. Reads see every earlier acknowledged write.

    A write with a `key` also stores the key's first answer, in the same step. If the key already has one,
    nothing is written, and a RequestInProgressError is raised.
    """

    def add(self, webhook: Webhook, key: RequestKey | None = None) -> Webhook | None:
        """Write a webhook if its id is new; otherwise return the existing one, and change nothing."""

    def register(self, webhook: Webhook, at_most: int, key: RequestKey | None = None) -> None:
        """Write a new webhook, which counts towards its customer's limit until it is removed.

        Raises:
            WebhookLimitError: the customer already has `at_most` webhooks.
            TransientError: too many other requests are changing them.
        """

    def may_have_webhooks(self, customer_ids: Collection[str]) -> Collection[str]:
        """Return the customers that may have webhooks: all that do, and few others. Takes one read."""

    def get(self, webhook_id: str) -> Webhook | None:
        """Return a webhook, or None."""

    def of_customer(self, customer_id: str) -> Sequence[Webhook]:
        """Return all webhooks of a customer."""

    def remove(self, webhook: Webhook, key: RequestKey | None = None) -> bool:
        """Delete a webhook by its id; False if it did not exist.

        Raises:
            TransientError: too many other requests are changing it.
        """

    def rotate(self, webhook: Webhook, expected: str, key: RequestKey | None = None) -> None:
        """Write the webhook's secrets if its current secret is still `expected`.

        Raises:
            VersionConflictError: another write has changed it.
            TransientError: too many other requests are changing it.
        """

    def answer_with(self, delivery: Delivery, key: RequestKey) -> None:
        """Store the delivery as the key's first answer, and write nothing else."""

    def answered_webhook(self, request_id: str) -> FirstAnswer[Webhook] | None:
        """Return the first answer to a key with this id, for a request about a webhook."""

    def answered_delivery(self, request_id: str) -> FirstAnswer[Delivery] | None:
        """Return the first answer to a key with this id, for a request about a delivery."""

    def disable(self, webhook_id: str, now: str) -> None:
        """Disable a webhook, if it exists."""

    def share(self, customer_id: str) -> Share:
        """Return a customer's share of the senders; with all slots free, if nothing is stored."""

    def take(self, customer_id: str, lane: Lane, slot: int, now: str, until: str) -> bool:
        """Take a slot; False if it is not free."""

    def release(
        self,
        customer_id: str,
        lane: Lane,
        slot: int,
        taken: str,
        until: str,
        answer_ms: int | None = None,
    ) -> None:
        """Release the slot that was taken until `taken`: it is free from `until` on.

        `answer_ms` is the new duration of an answer (see `Share`), if it has changed.
        """

    def receiver(self, webhook_id: str, name: str) -> ReceiverHealth:
        """Return the health of a callbacks' host; healthy, if nothing is stored."""

    def save_receiver(self, receiver: ReceiverHealth, expected: ReceiverHealth, now: str) -> bool:
        """Write it if `expected` is still stored; False if it has changed, or its webhook was removed."""

    def refuse_order(self, webhook_id: str, order_id: str, now: str) -> None:
        """Record that the receiver refuses further events of this order."""

    def is_refused(self, webhook_id: str, order_id: str) -> bool:
        """Whether the receiver refuses further events of this order."""

    def add_delivery(self, delivery: Delivery) -> None:
        """Write a delivery, unless it exists."""

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None."""

    def deliveries(self, webhook_id: str, before: str | None, limit: int) -> Sequence[Delivery]:
        """Return a webhook's deliveries, newest first; if given, only those older than the id `before`."""

    def save_delivery(self, delivery: Delivery, expected: Delivery) -> bool:
        """Write it if `expected` is still stored; False if it has changed, or was deleted."""
