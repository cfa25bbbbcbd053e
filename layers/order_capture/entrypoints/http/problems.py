"""Errors as RFC 9457 problem details: the only module that maps our errors to HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from order_capture.adapters.aws_errors import BUSY, is_unavailable
from order_capture.domain.errors import (
    BalanceOutOfRangeError,
    CustomerForbiddenError,
    IdempotencyConflictError,
    NotFoundError,
    NotRedrivableError,
    OpenHoldsError,
    OperatorsOnlyError,
    OrderCaptureError,
    RequestInProgressError,
    StatusConflictError,
    SubscriptionLimitError,
    TransientError,
    WebhookLimitError,
)

RETRY_AFTER_SECONDS = 1

# Lambda drops a response of more than 6 MB, even if the request was done. So a problem names at most this
# many fields, and fewer in each of the up to hundred problems of a batch.
MAX_ERRORS = 50
MAX_ERRORS_IN_BATCH = 5
_MAX_IN_DETAIL = 5
_MAX_NAME = 40


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request (`items[0].qty`, or a header's name) and what is wrong with it."""

    field: str
    message: str


class RequestInvalidError(OrderCaptureError):
    """A request does not match the contract; `errors` has every invalid field."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = list(errors)
        shown = [f"{error.field} {error.message}" for error in errors[:_MAX_IN_DETAIL]]
        more = [f"and {len(errors) - len(shown)} more"] if len(errors) > len(shown) else []
        super().__init__("; ".join(shown + more))


def shown_name(name: str) -> str:
    """An unknown name from a request, shortened to be repeated in the response."""
    shown = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    return "".join(each if each.isprintable() else "?" for each in shown)


class MethodNotAllowedError(OrderCaptureError):
    """A path does not have the requested method; `allowed` are those that it has."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = allowed
        super().__init__(f"This path supports only {', '.join(allowed)}.")


class UnsupportedMediaTypeError(OrderCaptureError):
    """A request's Content-Type is not JSON."""

    def __init__(self) -> None:
        super().__init__("The body must be JSON, with Content-Type: application/json.")


class UnauthenticatedError(OrderCaptureError):
    """A request does not identify its caller."""

    def __init__(self) -> None:
        super().__init__("An access token with the scope of this operation is needed.")


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    title: str
    status: HTTPStatus


_KINDS: dict[type[Exception], _Kind] = {
    RequestInvalidError: _Kind("invalid-request", "Invalid request", HTTPStatus.BAD_REQUEST),
    MethodNotAllowedError: _Kind("method-not-allowed", "Method not allowed", HTTPStatus.METHOD_NOT_ALLOWED),
    UnsupportedMediaTypeError: _Kind(
        "unsupported-media-type", "Unsupported media type", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    ),
    UnauthenticatedError: _Kind("unauthenticated", "Unauthenticated", HTTPStatus.UNAUTHORIZED),
    CustomerForbiddenError: _Kind("forbidden", "Forbidden", HTTPStatus.FORBIDDEN),
    OperatorsOnlyError: _Kind("forbidden", "Forbidden", HTTPStatus.FORBIDDEN),
    NotFoundError: _Kind("not-found", "Not found", HTTPStatus.NOT_FOUND),
    StatusConflictError: _Kind("status-conflict", "Status conflict", HTTPStatus.CONFLICT),
    NotRedrivableError: _Kind("not-redrivable", "Not redrivable", HTTPStatus.CONFLICT),
    BalanceOutOfRangeError: _Kind("balance-out-of-range", "Balance out of range", HTTPStatus.CONFLICT),
    OpenHoldsError: _Kind("still-held", "Still held", HTTPStatus.CONFLICT),
    IdempotencyConflictError: _Kind(
        "idempotency-key-reused", "Idempotency key reused", HTTPStatus.UNPROCESSABLE_ENTITY
    ),
    RequestInProgressError: _Kind("request-running", "Request still running", HTTPStatus.CONFLICT),
    WebhookLimitError: _Kind("too-many-webhooks", "Too many webhooks", HTTPStatus.CONFLICT),
    SubscriptionLimitError: _Kind("subscription-limit", "Too many subscriptions", HTTPStatus.CONFLICT),
    TransientError: _Kind("unavailable", "Temporarily unavailable", HTTPStatus.SERVICE_UNAVAILABLE),
}
_INTERNAL = _Kind("internal-error", "Internal error", HTTPStatus.INTERNAL_SERVER_ERROR)
_UNEXPECTED = "Something went wrong on our side. Nothing was lost; try again."


def problem(
    error: Exception, request_id: str | None = None, *, max_errors: int = MAX_ERRORS
) -> dict[str, Any]:
    """The problem document of `error`, with the first `max_errors` invalid fields.

    Only the texts of errors that this system raises on purpose reach a client.
    """
    if is_unavailable(error):
        error = TransientError(BUSY)
    kind = _KINDS.get(type(error), _INTERNAL)
    on_purpose = kind is not _INTERNAL
    errors = error.errors if isinstance(error, RequestInvalidError) else []
    if isinstance(error, CustomerForbiddenError):
        fields = [f"orders[{index}].customerId" for index in error.indexes] or ["customerId"]
        errors = [FieldError(name, "must be your own") for name in fields]
    answer: dict[str, Any] = {
        "type": f"urn:order-capture:problem:{kind.name}",
        "title": kind.title,
        "status": int(kind.status),
        "detail": str(error) if on_purpose else _UNEXPECTED,
    }
    if request_id:
        answer["requestId"] = request_id
    if errors:
        shown = errors[:max_errors]
        answer["errors"] = [{"field": each.field, "message": each.message} for each in shown]
        if len(errors) > len(shown):
            answer["moreErrors"] = len(errors) - len(shown)
    return answer


def is_retryable(error: Exception) -> bool:
    """Whether the same request may succeed if it is sent again in a moment."""
    return isinstance(error, TransientError | RequestInProgressError) or is_unavailable(error)
