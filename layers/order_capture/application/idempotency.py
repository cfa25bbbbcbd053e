"""Idempotency-Keys: a request has one effect, and each repetition gets the same response.

A key belongs to its caller and to the operation. The effect of a request and the record of its answer are one
atomic write, so that one never exists without the other. Orders and adjustments of a ledger are such records
themselves; everything else is written together with a `FirstAnswer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from order_capture.domain.errors import IdempotencyConflictError, OrderCaptureError

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The request of an Idempotency-Key.

    `request_id` is the same for the same caller, operation and key; `fingerprint` for the same request.
    """

    request_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class FirstAnswer(Generic[Value]):
    """The response to the first request with a key, and the request's fingerprint."""

    fingerprint: str
    value: Value


@dataclass(frozen=True, slots=True)
class Answered(Generic[Value]):
    """An answer, and whether an earlier request with the same key got it."""

    value: Value
    replayed: bool = False


def once(
    key: RequestKey | None,
    first_answer: Callable[[str], FirstAnswer[Value] | None],
    act: Callable[[], Value],
) -> Answered[Value]:
    """Act, unless an earlier request with this key did: then return its answer.

    `act` writes the record of the key together with its effect, and is refused if the record exists. So
    nothing has to be read first. If it fails for another reason (the resource may have been deleted since),
    the first answer is still returned.

    Raises:
        IdempotencyConflictError: the key was used with a different request.
        OrderCaptureError: raised by `act`, if there is no first answer.
    """
    try:
        return Answered(act())
    except OrderCaptureError:
        first = first_answer(key.request_id) if key else None
        if first is None or key is None:
            raise
    if first.fingerprint != key.fingerprint:
        raise IdempotencyConflictError
    return Answered(first.value, replayed=True)
