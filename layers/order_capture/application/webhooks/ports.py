"""What the use cases of webhooks need of the outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from order_capture.application.idempotency import FirstAnswer, RequestKey
from order_capture.domain.webhooks import Delivery, DeliveryResponse, Lane, ReceiverHealth, Share, Webhook

Post = Callable[[str, Mapping[str, str], str, float], DeliveryResponse]
"""POSTs a body with these headers to an address, and waits for so many seconds at most. It raises nothing:
what goes wrong is an answer too."""

Random = Callable[[], float]
"""A random number from 0 to 1."""


class WebhookRepository(Protocol):
    """Where webhooks and their deliveries are kept. Reads see every write that was answered before.

    What is written with a `key` becomes the key's first answer in the same step. If the key has one, nothing
    is written, and a RequestRunningError raised.
    """

    def add(self, webhook: Webhook, key: RequestKey | None = None) -> Webhook | None:
        """Write it if there is none of its id; otherwise return that one, and change nothing."""

    def register(self, webhook: Webhook, at_most: int, key: RequestKey | None = None) -> None:
        """Write a new one, which counts among its customer's until it is removed.

        Raises:
            WebhookLimitError: so many do already.
            TemporaryError: too many others change them at this moment.
        """

    def get(self, webhook_id: str) -> Webhook | None:
        """A webhook, or None."""

    def of_customer(self, customer_id: str) -> Sequence[Webhook]:
        """All webhooks of a customer."""

    def remove(self, webhook: Webhook, key: RequestKey | None = None) -> bool:
        """Forget the one of that id; False if it was not there.

        Raises:
            TemporaryError: too many others change it at this moment.
        """

    def rotate(self, webhook: Webhook, expected: str, key: RequestKey | None = None) -> None:
        """Write its secrets over those whose present one is `over`.

        Raises:
            VersionConflictError: it is no longer.
            TemporaryError: too many others change it at this moment.
        """

    def answer_with(self, delivery: Delivery, key: RequestKey) -> None:
        """Make that the key's first answer, and write nothing else."""

    def answered_webhook(self, request_id: str) -> FirstAnswer[Webhook] | None:
        """The first answer of a key of that id, whose request was about a webhook."""

    def answered_delivery(self, request_id: str) -> FirstAnswer[Delivery] | None:
        """The first answer of a key of that id, whose request was about a delivery."""

    def disable(self, webhook_id: str, now: str) -> None:
        """Turn it off, if it is there."""

    def share(self, customer_id: str) -> Share:
        """What of the senders a customer has; all of it, if nothing else is known."""

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
        """Give back the slot that was `taken` until then: it is free from `until` on.

        `answer_ms` is what an answer takes by now, unless that is as it was.
        """

    def receiver(self, webhook_id: str, name: str) -> ReceiverHealth:
        """How the callbacks to a host fare; well, if nothing else is known."""

    def save_receiver(self, receiver: ReceiverHealth, expected: ReceiverHealth, now: str) -> bool:
        """Write it over `over`; False if it has changed since, or its webhook is gone."""

    def refuse_order(self, webhook_id: str, order_id: str, now: str) -> None:
        """Keep in mind that nothing more of this order is wanted."""

    def is_refused(self, webhook_id: str, order_id: str) -> bool:
        """Whether nothing more of this order is wanted."""

    def add_delivery(self, delivery: Delivery) -> None:
        """Write it, unless it is there."""

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """A delivery, or None."""

    def deliveries(self, webhook_id: str, before: str | None, limit: int) -> Sequence[Delivery]:
        """A webhook's deliveries, the newest first; only those behind the one of id `before`, if given."""

    def save_delivery(self, delivery: Delivery, expected: Delivery) -> bool:
        """Write it over `over`; False if it has changed since, or is gone."""
