"""Capture orders: write them, then request their checks. The client gets its response immediately."""

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

# How long a repeated request is refused because the first one is in progress, if that one never completes:
# far more than its few calls take, and little for a client that waits after a crash. If the first one takes
# even longer, the repeated request does the same work concurrently, which is harmless.
IN_PROGRESS_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Captured:
    """An order for the response, and whether an earlier request captured it."""

    order: Order
    replayed: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """The orders of one request, with an error in the place of each invalid one.

    `request_id` is the id of the request's Idempotency-Key, if it has one. With `all_or_none`, an order that
    the caller may not place causes the whole batch to be refused.
    """

    entries: Sequence[Order | OrderCaptureError]
    fingerprint: str
    request_id: str | None
    all_or_none: bool = False


@dataclass(frozen=True, slots=True)
class CapturedBatch:
    """The answers to a batch, in the order of its entries, and whether an earlier request captured it."""

    answers: Sequence[Captured | OrderCaptureError]
    replayed: bool


@dataclass(frozen=True, slots=True)
class CaptureOrders:
    """Write new orders, and publish them to both checkers."""

    orders: OrderRepository
    checks: MessagePublisher
    clock: Clock

    def capture_one(self, order: Order, caller: Caller, *, idempotent: bool) -> Captured:
        """Capture one order.

        Raises:
            CustomerForbiddenError: the order is for a customer other than the caller.
            IdempotencyConflictError: its key was used with a different request.
            RequestInProgressError: the first request with its key is still in progress.
            TransientError: the order was not accepted; the same request may be sent again.
        """
        if not caller.can_access(order.details.customer_id):
            raise CustomerForbiddenError
        if idempotent:
            order = replace(order, in_progress_until=after(self.clock(), IN_PROGRESS_SECONDS))
        existing = self.orders.add([order])
        # An existing item that equals the new one is our own: the response to the write was lost, and
        # botocore retried it.
        if idempotent and existing.get(order.order_id) == order:
            existing = {}
        (answer,) = self._publish([order], existing, idempotent=idempotent)
        if idempotent and not existing:
            self._complete_key(order.order_id)
        if isinstance(answer, OrderCaptureError):
            raise answer
        return answer

    def capture_batch(self, batch: Batch, caller: Caller) -> CapturedBatch:
        """Capture the valid orders of a batch.

        Raises:
            CustomerForbiddenError: with all or none, if some orders are for another customer.
            IdempotencyConflictError: its key was used with a different request.
            RequestInProgressError: the first request with its key is still in progress.
            TransientError: no order was accepted; the same request may be sent again.
        """
        batch = _permitted(batch, caller)
        earlier = self._claim_key(batch) if batch.request_id else None
        valid = [entry for entry in batch.entries if isinstance(entry, Order)]
        captured = iter(self._publish(valid, self.orders.add(valid), idempotent=batch.request_id is not None))
        answers = [next(captured) if isinstance(entry, Order) else entry for entry in batch.entries]
        if batch.request_id and not earlier:
            self._complete_key(batch.request_id)
        return CapturedBatch(answers, replayed=earlier is not None)

    def _claim_key(self, batch: Batch) -> IdempotencyRecord | None:
        """Record the batch's key, or return the record of the earlier request with it.

        The orders' ids alone are not enough: they would accept a changed batch with valid orders in the
        places of invalid ones.
        """
        now = self.clock()
        until = after(now, IN_PROGRESS_SECONDS)
        record = IdempotencyRecord(batch.request_id or "", batch.fingerprint, until, now)
        earlier = self.orders.claim_key(record)
        if earlier is None or earlier == record:  # our own, as above
            return None
        if earlier.fingerprint != batch.fingerprint:
            raise IdempotencyConflictError
        if now < earlier.in_progress_until:
            raise RequestInProgressError
        return earlier

    def _publish(
        self, placed: Sequence[Order], existing: Mapping[str, Order | None], *, idempotent: bool
    ) -> list[Captured | OrderCaptureError]:
        """Publish each order; one failure does not stop the others. `existing` are those captured before.

        With `idempotent`, the ids come from an Idempotency-Key, so that the client can safely send the same
        request again. Without a key it can't, and an order that could not be published is withdrawn.

        An order that was captured before is published again until a check has answered: so a client's retry
        repairs a failed publish. The checkers are idempotent.
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
            if unchecked and self.clock() < stored.in_progress_until:
                answers[order.order_id] = RequestInProgressError()
                continue
            answers[order.order_id] = Captured(stored.initial_snapshot(), replayed=True)
            if unchecked:
                to_check.append(stored)

        failed = self.checks.send([CheckOrder.of(order.details, order.correlation_id) for order in to_check])
        for order in to_check:
            if order.order_id in failed:
                if not idempotent:
                    self._withdraw(order)
                answers[order.order_id] = TransientError(
                    "The order could not be published. Send the same request again."
                )
        return [answers[order.order_id] for order in placed]

    def _complete_key(self, request_id: str) -> None:
        """Mark the request as complete, so that a repeated one is answered immediately. This may fail: the
        in-progress mark expires."""
        try:
            self.orders.complete_key(request_id)
        except Exception:
            logger.exception("the request is not marked as complete", extra={"request_id": request_id})

    def _withdraw(self, order: Order) -> None:
        """Cancel an order that its client will send again under another id, so that it can't count twice.

        If it was published after all, the checks' results find it cancelled, and their holds are released.
        If this fails too, only a key could have prevented a second order.
        """
        withdrawn = order.withdraw(now=self.clock())
        try:
            self.orders.save(withdrawn, expected_version=order.version)
        except VersionConflictError:
            # A check has answered: the order was published after all, and continues.
            logger.warning("not withdrawn: it was published after all", extra={"order_id": order.order_id})
        except Exception:
            # The table is not reachable either. The other orders of the request must still be answered.
            logger.exception("not withdrawn", extra={"order_id": order.order_id})


def _permitted(batch: Batch, caller: Caller) -> Batch:
    """The batch, with an error in the place of each order that the caller may not place."""
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
