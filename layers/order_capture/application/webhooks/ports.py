"""The ports of the use cases of webhooks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.domain.webhooks import Delivery, DeliveryResponse, Lane, ReceiverHealth, Share, Webhook

Post = Callable[[str, Mapping[str, str], str, float], DeliveryResponse]
"""POSTs a body with these headers to a URL, and waits for so many seconds at most. It raises nothing: a
failure is a response too."""


class WebhookRepository(Protocol):
    """Where webhooks and their deliveries are stored. Reads see every write that was answered before.

    What is written with a `key` becomes the key's first answer in the same step. If the key has one, nothing
    is written, and a RequestInProgressError raised.
    """

    def add(self, webhook: Webhook, key: RequestKey | None = None) -> Webhook | None:
        """Write it if there is none of its id; otherwise return that one, and change nothing."""

    def register(self, webhook: Webhook, at_most: int, key: RequestKey | None = None) -> None:
        """Write a new one, which counts among its customer's until it is removed.

        Raises:
            WebhookLimitError: so many do already.
            TransientError: too many other requests are changing them.
        """

    def may_have_webhooks(self, customer_ids: Collection[str]) -> Collection[str]:
        """Return those of the customers that may have webhooks: all that have, and few others. One read."""

    def get(self, webhook_id: str) -> Webhook | None:
        """Return a webhook, or None."""

    def of_customer(self, customer_id: str) -> Sequence[Webhook]:
        """Return all webhooks of a customer."""

    def remove(self, webhook: Webhook, key: RequestKey | None = None) -> bool:
        """Delete the one of that id; False if it did not exist.

        Raises:
            TransientError: too many other requests are changing it.
        """

    def rotate(self, webhook: Webhook, expected: str, key: RequestKey | None = None) -> None:
        """Write its secrets over those whose current one is `expected`.

        Raises:
            VersionConflictError: another write has changed it.
            TransientError: too many other requests are changing it.
        """

    def answer_with(self, delivery: Delivery, key: RequestKey) -> None:
        """Make that the key's first answer, and write nothing else."""

    def answered_webhook(self, request_id: str) -> FirstAnswer[Webhook] | None:
        """Return the first answer of a key of that id, whose request was about a webhook."""

    def answered_delivery(self, request_id: str) -> FirstAnswer[Delivery] | None:
        """Return the first answer of a key of that id, whose request was about a delivery."""

    def disable(self, webhook_id: str, now: str) -> None:
        """Disable it, if it exists."""

    def share(self, customer_id: str) -> Share:
        """Return a customer's share of the senders; all of it, if nothing else is known."""

    def take(self, customer_id: str, lane: Lane, slot: int, now: str, until: str) -> bool:
        """Take a slot that is free by now; False if it is not."""

    def release(
        self,
        customer_id: str,
        lane: Lane,
        slot: int,
        taken: str,
        until: str,
        answer_ms: int | None = None,
    ) -> None:
        """Release the slot that was `taken` until then: it is free from `until` on.

        `answer_ms` is the duration of an answer by now, if it has changed.
        """

    def receiver(self, webhook_id: str, name: str) -> ReceiverHealth:
        """Return the health of a host of callbacks; healthy, if nothing else is known."""

    def save_receiver(self, receiver: ReceiverHealth, expected: ReceiverHealth, now: str) -> bool:
        """Write it over `expected`; False if it has changed since, or its webhook is removed."""

    def refuse_order(self, webhook_id: str, order_id: str, now: str) -> None:
        """Record that the receiver refuses further events of this order."""

    def is_refused(self, webhook_id: str, order_id: str) -> bool:
        """Whether the receiver refuses further events of this order."""

    def add_delivery(self, delivery: Delivery) -> None:
        """Write it, unless it exists."""

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """Return a delivery, or None."""

    def deliveries(self, webhook_id: str, before: str | None, limit: int) -> Sequence[Delivery]:
        """Return a webhook's deliveries, newest first; only those behind the one of id `before`, if given."""

    def save_delivery(self, delivery: Delivery, expected: Delivery) -> bool:
        """Write it over `expected`; False if it has changed since, or is deleted."""
