"""Capture orders: write them, then hand them to the checkers. The answer is given at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from order_capture.application.callers import Caller
from order_capture.application.messages import CheckOrder
from order_capture.application.ports import (
    Clock,
    IdempotencyRecord,
    MessagePublisher,
    OrderRepository,
    VersionConflictError,
)
from order_capture.domain.errors import (
    CustomerForbiddenError,
    IdempotencyConflictError,
    OrderCaptureError,
    RequestInProgressError,
    TransientError,
)
from order_capture.domain.order import Order, OrderStatus
from order_capture.domain.times import after

logger = logging.getLogger(__name__)

# How long a repetition is told that the first request is still running, should that one never say that it
# is done: far more than its few calls take, and little for a client that waits behind a crash. If the first
# runs for even longer, the repetition does the same work beside it, which harms nothing.
IN_PROGRESS_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Captured:
    """An order that is in: as it is answered, and whether an earlier request had brought it."""

    order: Order
    replayed: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Several orders of one request, with an error in the place of each that is not valid.

    `request_id` stands for the request's Idempotency-Key, if it has one. With `all_or_none`, an order that is
    not the caller's to place has the whole batch refused.
    """

    entries: Sequence[Order | OrderCaptureError]
    fingerprint: str
    request_id: str | None
    all_or_none: bool = False


@dataclass(frozen=True, slots=True)
class CapturedBatch:
    """The answers to a batch, in the order of its entries, and whether an earlier request had brought it."""

    answers: Sequence[Captured | OrderCaptureError]
    replayed: bool


def capture_order(
    orders: OrderRepository,
    checkers: MessagePublisher,
    order: Order,
    caller: Caller,
    clock: Clock,
    *,
    idempotent: bool,
) -> Captured:
    """Capture one order.

    Raises:
        ForeignCustomerError: it is in the name of a customer that is not the caller.
        KeyReusedError: its key came with another request before.
        RequestRunningError: the first request with its key is not answered yet.
        TemporaryError: it was not accepted; the same request may be sent again.
    """
    if not caller.can_access(order.details.customer_id):
        raise CustomerForbiddenError
    if idempotent:
        order = replace(order, in_progress_until=after(clock(), IN_PROGRESS_SECONDS))
    existing = orders.add([order])
    # What is there just as it was to be written is no earlier request's but our own: the answer to the write
    # was lost, and it was sent again.
    if idempotent and existing.get(order.order_id) == order:
        existing = {}
    (answer,) = _capture(orders, checkers, [order], existing, clock, idempotent=idempotent)
    if idempotent and not existing:
        _finish(orders, order.order_id)
    if isinstance(answer, OrderCaptureError):
        raise answer
    return answer


def capture_batch(
    orders: OrderRepository, checkers: MessagePublisher, batch: Batch, caller: Caller, clock: Clock
) -> CapturedBatch:
    """Capture the valid orders of a batch.

    Raises:
        ForeignCustomerError: all or none, and some are in the name of a customer that is not the caller.
        KeyReusedError: its key came with another request before.
        RequestRunningError: the first request with its key is not answered yet.
        TemporaryError: none of it was accepted; the same request may be sent again.
    """
    batch = _permitted(batch, caller)
    earlier: IdempotencyRecord | None = None
    # The ids of its orders alone would let a changed batch through that is valid where the first was not.
    if batch.request_id:
        now = clock()
        record = IdempotencyRecord(batch.request_id, batch.fingerprint, after(now, IN_PROGRESS_SECONDS))
        earlier = orders.claim_key(record)
        if earlier == record:  # our own, as above
            earlier = None
        if earlier and earlier.fingerprint != batch.fingerprint:
            raise IdempotencyConflictError()
        if earlier and now < earlier.in_progress_until:
            raise RequestInProgressError()
    valid = [entry for entry in batch.entries if isinstance(entry, Order)]
    existing = orders.add(valid)
    captured = iter(
        _capture(orders, checkers, valid, existing, clock, idempotent=batch.request_id is not None)
    )
    answers = [next(captured) if isinstance(entry, Order) else entry for entry in batch.entries]
    if batch.request_id and not earlier:
        _finish(orders, batch.request_id)
    return CapturedBatch(answers, replayed=earlier is not None)


def _permitted(batch: Batch, caller: Caller) -> Batch:
    """The batch, with an error in the place of each order that can't be the caller's."""
    foreign = [
        index
        for index, entry in enumerate(batch.entries)
        if isinstance(entry, Order) and not caller.can_access(entry.details.customer_id)
    ]
    if foreign and batch.all_or_none:
        raise CustomerForbiddenError(*foreign)
    entries = list(batch.entries)
    for index in foreign:
        entries[index] = CustomerForbiddenError(index)
    return replace(batch, entries=entries)


def _capture(
    orders: OrderRepository,
    checkers: MessagePublisher,
    placed: Sequence[Order],
    existing: Mapping[str, Order | None],
    clock: Clock,
    *,
    idempotent: bool,
) -> list[Captured | OrderCaptureError]:
    """Hand each order on; one failure stops no other. `existing` are those that were there before.

    `keyed` says that the ids come from an Idempotency-Key, so that the client can safely send the same
    request again. Without a key it can't, and an order that could not be handed on is withdrawn.

    An order that was captured before is handed on again as long as no check has answered: this is how a
    client's retry heals a publish that failed. The checkers do nothing twice.
    """
    answers: dict[str, Captured | OrderCaptureError] = {}
    to_check: list[Order] = []
    for order in placed:
        if order.order_id not in existing:
            answers[order.order_id] = Captured(order, replayed=False)
            to_check.append(order)
            continue
        stored = existing[order.order_id]
        if stored is None or stored.fingerprint != order.fingerprint:
            answers[order.order_id] = IdempotencyConflictError()
            continue
        unchecked = stored.status is OrderStatus.PENDING and not stored.checks
        if unchecked and clock() < stored.in_progress_until:
            answers[order.order_id] = RequestInProgressError()
            continue
        answers[order.order_id] = Captured(stored.initial_snapshot(), replayed=True)
        if unchecked:
            to_check.append(stored)

    failed = checkers.send([CheckOrder(order.details, order.correlation_id) for order in to_check])
    for order in to_check:
        if order.order_id in failed:
            if not idempotent:
                _withdraw(orders, order, clock)
            answers[order.order_id] = TransientError(
                "The order could not be handed on. Send the same request again."
            )
    return [answers[order.order_id] for order in placed]


def _finish(orders: OrderRepository, request_id: str) -> None:
    """Let a repetition of the request have its answer at once. It may fail: the mark runs out."""
    try:
        orders.complete_key(request_id)
    except Exception:
        logger.exception("not marked as finished", extra={"request_id": request_id})


def _withdraw(orders: OrderRepository, order: Order, clock: Clock) -> None:
    """Close an order that its client will send again under another id, so that it can't count twice.

    If it was published after all, the checks' answers find it cancelled and what they hold is released.
    Where even that fails, only a key could prevent a second order.
    """
    try:
        orders.save(order.withdraw("it could not be handed on", now=clock()), expected_version=order.version)
    except VersionConflictError:
        # A check has answered, so it was published after all and takes its course.
        logger.warning("not withdrawn: it was handed on after all", extra={"order_id": order.order_id})
    except Exception:
        # The table is out of reach as well. The other orders of the request must still get their answers.
        logger.exception("not withdrawn", extra={"order_id": order.order_id})
