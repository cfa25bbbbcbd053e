"""Watch orders: drive on whatever is still open when its time comes, until it is at rest.

One recovery for whatever was lost on the way: a publish that never happened, a message, a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from order_capture.application.batches import process_groups
from order_capture.application.messages import (
    CheckOrder,
    Message,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
    order_id_of,
)
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Backoff, Clock, HasTimeLeft, MessagePublisher, OrderRepository
from order_capture.domain.order import NextAction, Order, OrderStatus

MAX_DELAY = 900  # seconds, SQS's most


def watch_new_orders(watchdog: MessagePublisher, placed: Sequence[tuple[str, str]], delay: int) -> None:
    """Have each new order, by its id and correlation id, looked at after `delay` seconds.

    Raises:
        TemporaryError: not all could be sent; the whole batch is to be tried again.
        RefusedMessagesError: some never can be; all the others are sent.
    """
    watchdog.send_all([WatchOrder(order_id, correlation, delay) for order_id, correlation in placed])


def watch_orders(
    orders: OrderRepository,
    checkers: MessagePublisher,
    shipping: MessagePublisher,
    watchdog: MessagePublisher,
    messages: Sequence[WatchOrder],
    deadline: timedelta,
    clock: Clock,
    backoff: Backoff,
    has_time_left: HasTimeLeft = lambda: True,
) -> set[str]:
    """Look at every order of a batch, send again what follows from its status, and look again later.

    A pending order is put to the checkers again, or expires past its `deadline`; a confirmed one is sent to
    shipping again; a refused one has its release sent once more, which ends the watch. Whatever was sent
    twice finds that it was done.

    Returns:
        The ids of the orders that must be tried again: their messages go back to the queue.
    """
    failed: set[str] = set()
    to_check: list[Message] = []
    to_ship: list[Message] = []
    to_release: list[Message] = []
    to_watch: list[Message] = []
    # The stream may have had an order watched twice: within a batch, that is one look and one next look.
    watched = {message.order_id: message for message in messages}
    known = orders.get_many(watched.keys())

    def look(group: Sequence[WatchOrder]) -> None:
        (message,) = group
        stands = known.get(message.order_id)
        order = update_with_retry(orders, message.order_id, stands, _expiring(deadline, clock), backoff)
        if order.status is OrderStatus.PENDING:
            to_check.append(CheckOrder(order.details, order.correlation_id))
            to_watch.append(_next_look(message))
        match order.next_action():
            case NextAction.SHIP:
                to_ship.append(ShipOrder(order.details, order.correlation_id))
                to_watch.append(_next_look(message))
            case NextAction.RELEASE:
                to_release.append(ReleaseOrder(order.details, order.correlation_id))
            case None:
                pass

    process_groups(failed, ([message] for message in watched.values()), order_id_of, look, has_time_left)
    failed |= checkers.send([*to_check, *to_release]) | shipping.send(to_ship)
    return failed | watchdog.send([message for message in to_watch if order_id_of(message) not in failed])


def _next_look(message: WatchOrder) -> WatchOrder:
    delay = min(2 * max(message.delay, 1), MAX_DELAY)
    return WatchOrder(message.order_id, message.correlation_id, delay, message.attempts + 1)


def _expiring(deadline: timedelta, clock: Clock) -> Callable[[Order], Order]:
    def expired(order: Order) -> Order:
        now = clock()
        return order.expire(now=now) if order.is_overdue(now=now, deadline=deadline) else order

    return expired
