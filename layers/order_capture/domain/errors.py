"""What can go wrong, in the business's own terms. `entrypoints.http.problems` turns it into responses."""

from __future__ import annotations

from collections.abc import Collection


class OrderCaptureError(Exception):
    """Base of every error that this system raises on purpose; its text is fit for a client to read."""


class InvalidMessageError(OrderCaptureError):
    """A message is not one of ours, or not of a version that we read."""


class UnreadableError(OrderCaptureError, ValueError):
    """An item or a message is not as this system writes it. The text names the field, never its value."""


class RejectedMessagesError(OrderCaptureError):
    """Messages that can never be sent, by the ids of what they are about; all the others were."""

    def __init__(self, subjects: Collection[str]) -> None:
        self.subjects = sorted(subjects)
        super().__init__(f"{len(self.subjects)} messages can't be sent, being too large or refused")


class NotFoundError(OrderCaptureError):
    """No order, customer or product of that id exists."""


class CustomerForbiddenError(OrderCaptureError):
    """A customer requests something in another customer's name.

    `indexes` are the places in their batch of the orders it is about; none for what comes on its own.
    """

    def __init__(self, *indexes: int) -> None:
        self.indexes = indexes
        super().__init__("A customer reaches their own orders only.")


class StatusConflictError(OrderCaptureError):
    """A status does not allow what is requested."""


class BalanceOutOfRangeError(OrderCaptureError):
    """An adjustment would take a balance below zero, or above what a ledger may hold."""


class OpenHoldsError(OrderCaptureError):
    """What is to be deleted is held by open orders."""


class IdempotencyConflictError(OrderCaptureError):
    """An Idempotency-Key came again with another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before, with another request.")


class RequestInProgressError(OrderCaptureError):
    """A request with the same Idempotency-Key is still in progress."""

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key is still running. Send it again soon.")


class WebhookLimitError(OrderCaptureError):
    """A customer has as many webhooks as one may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A customer may have {limit} webhooks. Remove one first.")


class SubscriptionLimitError(OrderCaptureError):
    """A connection has too many subscriptions, or what it subscribes to has too many subscribers."""


class TransientError(OrderCaptureError):
    """Nothing is wrong with the request, and nothing is lost: the same request may be sent again."""


class BalanceMovingError(TransientError):
    """So much is transferred between the parts of a balance that no read of them adds up."""


class LedgerInconsistencyError(OrderCaptureError):
    """A ledger does not hold what an order says it holds. Never expected: it needs a person."""
