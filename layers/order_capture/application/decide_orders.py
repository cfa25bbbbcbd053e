"""Decide orders: take in the checks' answers, and send on what follows from the status."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from order_capture.application.batches import given_back
from order_capture.application.change_order import change_order
from order_capture.application.messages import Message, OrderChecked, ReleaseOrder, ShipOrder
from order_capture.application.ports import Clock, Orders, Outbox, Pause
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
            # An order is written before anybody is asked about it: one that is not there is a table set back.
            order = change_order(orders, order_id, known.get(order_id), _taking_in(answers, clock), pause)
            match order.follow_up():
                case FollowUp.SHIP:
                    to_ship.append(ShipOrder(order.terms, order.correlation_id))
                case FollowUp.RELEASE:
                    to_release.append(ReleaseOrder(order.terms, order.correlation_id))
                case None:
                    pass
    return failed | shipping.send(to_ship) | checkers.send(to_release)


def _taking_in(answers: Sequence[OrderChecked], clock: Clock) -> Callable[[Order], Order]:
    def decided(order: Order) -> Order:
        for answer in answers:
            order = order.decide(answer.check, answer.decision, now=clock())
        return order

    return decided
