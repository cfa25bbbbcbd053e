"""Decide orders: take in the checks' answers, and send on what follows from the status."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from order_capture.application.batches import process_groups
from order_capture.application.messages import Message, OrderChecked, ReleaseOrder, ShipOrder
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Backoff, Clock, HasTimeLeft, MessagePublisher, OrderRepository
from order_capture.domain.order import NextAction, Order


def decide_orders(
    orders: OrderRepository,
    shipping: MessagePublisher,
    checkers: MessagePublisher,
    messages: Sequence[OrderChecked],
    clock: Clock,
    backoff: Backoff,
    has_time_left: HasTimeLeft = lambda: True,
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

    def decide(group: Sequence[str]) -> None:
        (order_id,) = group
        # An order is written before anybody is asked about it: one that is not there is a table set back.
        taken_in = _taking_in(by_order[order_id], clock)
        order = update_with_retry(orders, order_id, known.get(order_id), taken_in, backoff)
        match order.next_action():
            case NextAction.SHIP:
                to_ship.append(ShipOrder(order.details, order.correlation_id))
            case NextAction.RELEASE:
                to_release.append(ReleaseOrder(order.details, order.correlation_id))
            case None:
                pass

    process_groups(failed, ([order_id] for order_id in by_order), str, decide, has_time_left)
    return failed | shipping.send(to_ship) | checkers.send(to_release)


def _taking_in(answers: Sequence[OrderChecked], clock: Clock) -> Callable[[Order], Order]:
    def decided(order: Order) -> Order:
        for answer in answers:
            order = order.record_check(answer.check, answer.decision, now=clock())
        return order

    return decided
