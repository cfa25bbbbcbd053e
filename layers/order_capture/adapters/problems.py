"""What goes wrong, as clients see it: RFC 9457 problem details. The one place that knows both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from order_capture.adapters.aws_errors import BUSY, is_unavailable
from order_capture.domain.errors import (
    BalanceOutOfRangeError,
    ForeignCustomerError,
    KeyReusedError,
    NotFoundError,
    OrderCaptureError,
    RequestRunningError,
    StatusConflictError,
    StillHeldError,
    SubscriptionLimitError,
    TemporaryError,
    WebhookLimitError,
)

RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request (`items[0].qty`, or a header's name) and what is wrong with it."""

    field: str
    message: str


class RequestInvalidError(OrderCaptureError):
    """A request is not what the contract asks for; `errors` has every field that is wrong."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(f"{error.field} {error.message}" for error in errors))


class UnauthenticatedError(OrderCaptureError):
    """A request that does not say who sends it."""

    def __init__(self) -> None:
        super().__init__("An access token with the scope of this operation is needed.")


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    title: str
    status: HTTPStatus


_KINDS: dict[type[Exception], _Kind] = {
    RequestInvalidError: _Kind("invalid-request", "Invalid request", HTTPStatus.BAD_REQUEST),
    UnauthenticatedError: _Kind("unauthenticated", "Unauthenticated", HTTPStatus.UNAUTHORIZED),
    ForeignCustomerError: _Kind("forbidden", "Forbidden", HTTPStatus.FORBIDDEN),
    NotFoundError: _Kind("not-found", "Not found", HTTPStatus.NOT_FOUND),
    StatusConflictError: _Kind("status-conflict", "Status conflict", HTTPStatus.CONFLICT),
    BalanceOutOfRangeError: _Kind("balance-out-of-range", "Balance out of range", HTTPStatus.CONFLICT),
    StillHeldError: _Kind("still-held", "Still held", HTTPStatus.CONFLICT),
    KeyReusedError: _Kind(
        "idempotency-key-reused", "Idempotency key reused", HTTPStatus.UNPROCESSABLE_ENTITY
    ),
    RequestRunningError: _Kind("request-running", "Request still running", HTTPStatus.CONFLICT),
    WebhookLimitError: _Kind("too-many-webhooks", "Too many webhooks", HTTPStatus.CONFLICT),
    SubscriptionLimitError: _Kind("subscription-limit", "Too many subscriptions", HTTPStatus.CONFLICT),
    TemporaryError: _Kind("unavailable", "Temporarily unavailable", HTTPStatus.SERVICE_UNAVAILABLE),
}
_INTERNAL = _Kind("internal-error", "Internal error", HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(error: Exception, request_id: str | None = None) -> dict[str, Any]:
    """The problem that tells a client about `error`.

    Only errors that this system raises on purpose are told in words: the text of any other never
    reaches a client.
    """
    if is_unavailable(error):
        error = TemporaryError(BUSY)
    kind = _KINDS.get(type(error), _INTERNAL)
    told = kind is not _INTERNAL
    errors = error.errors if isinstance(error, RequestInvalidError) else []
    if isinstance(error, ForeignCustomerError):
        fields = [f"orders[{index}].customerId" for index in error.indexes] or ["customerId"]
        errors = [FieldError(name, "must be your own") for name in fields]
    answer: dict[str, Any] = {
        "type": f"urn:order-capture:problem:{kind.name}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": str(error) if told else "Something went wrong on our side. Nothing was lost; try again.",
    }
    if request_id:
        answer["requestId"] = request_id
    if errors:
        answer["errors"] = [{"field": each.field, "message": each.message} for each in errors]
    return answer


def is_passing(error: Exception) -> bool:
    """Whether the same request may well be answered otherwise in a moment."""
    return isinstance(error, TemporaryError | RequestRunningError) or is_unavailable(error)
