"""The errors of the domain. `entrypoints.http.problems` turns them into responses."""

from __future__ import annotations

from collections.abc import Collection


class OrderCaptureError(Exception):
    """Base of all errors that this system raises on purpose; their texts can be shown to clients."""


class InvalidMessageError(OrderCaptureError):
    """A message was not sent by this system, or has an unsupported version."""


class UnreadableError(OrderCaptureError, ValueError):
    """An item or a message does not have the form that this system writes. The text names the field only."""


class RejectedMessagesError(OrderCaptureError):
    """Messages that can never be sent, by their subjects' ids; all others were sent."""

    def __init__(self, subjects: Collection[str]) -> None:
        self.subjects = sorted(subjects)
        super().__init__(f"{len(self.subjects)} messages can't be sent: too large, or refused")


class NotFoundError(OrderCaptureError):
    """The order, customer or product does not exist."""


class CustomerForbiddenError(OrderCaptureError):
    """A customer sent a request for another customer.

    `indexes` are the positions of the affected orders in their batch; empty for a single request.
    """

    def __init__(self, *indexes: int) -> None:
        self.indexes = indexes
        super().__init__("Customers can access only their own orders.")


class OperatorsOnlyError(OrderCaptureError):
    """A customer used an operation for services and operators only."""

    def __init__(self) -> None:
        super().__init__("Only services and operators may do this.")


class StatusConflictError(OrderCaptureError):
    """The status does not allow the requested operation."""


class NotRedrivableError(OrderCaptureError):
    """The dead letters of a stream are stream records, not messages, and can't be redriven."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The dead letters of {name} are stream records, which can't be redriven: see the runbook."
        )


class BalanceOutOfRangeError(OrderCaptureError):
    """An adjustment would make a balance negative, or higher than the ledger allows."""


class OpenHoldsError(OrderCaptureError):
    """Open orders hold part of the account or product to delete."""


class IdempotencyConflictError(OrderCaptureError):
    """An Idempotency-Key was used again with a different request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before, with another request.")


class RequestInProgressError(OrderCaptureError):
    """A request with the same Idempotency-Key is still in progress."""

    def __init__(self) -> None:
        super().__init__("The first request with this Idempotency-Key is still running. Send it again soon.")


class WebhookLimitError(OrderCaptureError):
    """The customer has the maximum number of webhooks."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A customer may have {limit} webhooks. Remove one first.")


class SubscriptionLimitError(OrderCaptureError):
    """A connection has too many subscriptions, or their target has too many subscribers."""


class TransientError(OrderCaptureError):
    """A temporary failure without effect: the same request can be sent again."""


class BalanceMovingError(TransientError):
    """There are too many transfers between the heads of a balance for a consistent read."""


class LedgerInconsistencyError(OrderCaptureError):
    """A ledger does not hold what an order should hold. Never expected: an operator must investigate."""
