"""Decide orders: take in the checks' answers, and send on what follows from the status."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.application.batches import given_back
from order_capture.application.messages import Message, OrderChecked, ReleaseOrder, ShipOrder
from order_capture.application.ports import TRIES, Clock, Orders, Outbox, Pause, VersionConflictError
from order_capture.domain.errors import NotFoundError, TemporaryError
from order_capture.domain.order import FollowUp, Order


def decide_orders(
    orders: Orders,
    shipping: Outbox,
    checkers: Outbox,
    messages: Sequence[OrderChecked],
    clock: Clock,
    pause: Pause,
) -> set[str]:
    """Take in every answer of a batch; two answers about one order are one write.

    Returns:
        The ids of the orders that must be tried again: their messages go back to the queue.
    """
    by_order: dict[str, list[OrderChecked]] = {}
    for message in messages:
        by_order.setdefault(message.order_id, []).append(message)

    failed: set[str] = set()
    known = orders.get_many(by_order.keys())
    to_ship: list[Message] = []
    to_release: list[Message] = []
    for order_id, answers in by_order.items():
        with given_back(failed, [order_id]):
            order = _decide(orders, known.get(order_id), answers, clock, pause)
            match order.follow_up():
                case FollowUp.SHIP:
                    to_ship.append(ShipOrder(order.terms, order.correlation_id))
                case FollowUp.RELEASE:
                    to_release.append(ReleaseOrder(order.terms, order.correlation_id))
                case None:
                    pass
    return failed | shipping.send(to_ship) | checkers.send(to_release)


def _decide(
    orders: Orders, order: Order | None, answers: Sequence[OrderChecked], clock: Clock, pause: Pause
) -> Order:
    for tries in range(1, TRIES + 1):
        if order is None:
            # An order is written before anybody is asked about it, so this is a table set back in time.
            raise NotFoundError(f"no order {answers[0].order_id}")
        decided = order
        for answer in answers:
            decided = decided.decide(answer.check, answer.decision, now=clock())
        if decided is order:
            return order
        try:
            orders.save(decided, over=order.version)
            return decided
        except VersionConflictError:
            pause(tries)
            order = orders.get(order.order_id)
    raise TemporaryError("order too busy")
