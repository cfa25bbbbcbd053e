"""Capture orders: write them, then hand them to the checkers. The answer is given at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.messages import CheckOrder
from order_capture.application.ports import Clock, Orders, Outbox, VersionConflictError
from order_capture.domain.errors import KeyReusedError, OrderCaptureError, TemporaryError
from order_capture.domain.order import Order, OrderStatus

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Captured:
    """An order that is in: as it is answered, and whether an earlier request had brought it."""

    order: Order
    replayed: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Several orders of one request, with an error in the place of each that is not valid.

    `request_id` stands for the request's Idempotency-Key, if it has one.
    """

    entries: Sequence[Order | OrderCaptureError]
    fingerprint: str
    request_id: str | None


def capture_order(orders: Orders, checkers: Outbox, order: Order, clock: Clock, *, keyed: bool) -> Captured:
    """Capture one order.

    Raises:
        KeyReusedError: its key came with another request before.
        TemporaryError: it was not accepted; the same request may be sent again.
    """
    (answer,) = _capture(orders, checkers, [order], clock, keyed=keyed)
    if isinstance(answer, OrderCaptureError):
        raise answer
    return answer


def capture_batch(
    orders: Orders, checkers: Outbox, batch: Batch, clock: Clock
) -> list[Captured | OrderCaptureError]:
    """Capture the valid orders of a batch; the answers come in the order of its entries.

    Raises:
        KeyReusedError: its key came with another request before.
        TemporaryError: none of it was accepted; the same request may be sent again.
    """
    keyed = batch.request_id is not None
    # The ids of its orders alone would let a changed batch through that is valid where the first was not.
    if batch.request_id and orders.pin(batch.request_id, batch.fingerprint) != batch.fingerprint:
        raise KeyReusedError()
    valid = [entry for entry in batch.entries if isinstance(entry, Order)]
    captured = iter(_capture(orders, checkers, valid, clock, keyed=keyed))
    return [next(captured) if isinstance(entry, Order) else entry for entry in batch.entries]


def _capture(
    orders: Orders, checkers: Outbox, placed: Sequence[Order], clock: Clock, *, keyed: bool
) -> list[Captured | OrderCaptureError]:
    """Write each order and hand it on; one failure stops no other.

    `keyed` says that the ids come from an Idempotency-Key, so that the client can safely send the same
    request again. Without a key it can't, and an order that could not be handed on is withdrawn.

    An order that was captured before is handed on again as long as no check has answered: this is how a
    client's retry heals a publish that failed. The checkers do nothing twice.
    """
    existing = orders.add(placed)
    answers: dict[str, Captured | OrderCaptureError] = {}
    to_check: list[Order] = []
    for order in placed:
        if order.order_id not in existing:
            answers[order.order_id] = Captured(order, replayed=False)
            to_check.append(order)
            continue
        stored = existing[order.order_id]
        if stored is None or stored.fingerprint != order.fingerprint:
            answers[order.order_id] = KeyReusedError()
            continue
        answers[order.order_id] = Captured(stored.as_placed(), replayed=True)
        if stored.status is OrderStatus.PENDING and not stored.checks:
            to_check.append(stored)

    failed = checkers.send([CheckOrder(order.terms, order.correlation_id) for order in to_check])
    for order in to_check:
        if order.order_id in failed:
            if not keyed:
                _withdraw(orders, order, clock)
            answers[order.order_id] = TemporaryError(
                "The order could not be handed on. Send the same request again."
            )
    return [answers[order.order_id] for order in placed]


def _withdraw(orders: Orders, order: Order, clock: Clock) -> None:
    """Close an order that its client will send again under another id, so that it can't count twice.

    If it was published after all, the checks' answers find it cancelled and what they hold is released.
    Where even that fails, only a key could prevent a second order.
    """
    try:
        orders.save(order.withdraw("it could not be handed on", now=clock()), over=order.version)
    except VersionConflictError:
        # A check has answered, so it was published after all and takes its course.
        logger.warning("not withdrawn: it was handed on after all", extra={"order_id": order.order_id})
    except Exception:
        # The table is out of reach as well. The other orders of the request must still get their answers.
        logger.exception("not withdrawn", extra={"order_id": order.order_id})
