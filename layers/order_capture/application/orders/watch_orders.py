"""Watch orders: recover those that are still open when their check is due, until they are closed.

One recovery path for every loss: a publish that never happened, a lost message, a dead letter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from order_capture.application.batches import process_groups
from order_capture.application.messages import (
    CheckOrder,
    Message,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
)
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Clock, MessagePublisher, OrderRepository
from order_capture.application.retry import Retry
from order_capture.domain.order import NextAction, Order, OrderStatus

logger = logging.getLogger(__name__)


def watch_new_orders(watches: MessagePublisher, placed: Sequence[tuple[str, str]], delay: int) -> None:
    """Have each new order (its id and correlation id) checked after `delay` seconds.

    Raises:
        TransientError: not all could be sent; the whole batch must be retried.
        RejectedMessagesError: some can never be sent; all others are sent.
    """
    watches.send_all([WatchOrder.of(order_id, correlation, delay) for order_id, correlation in placed])


MARKED_ATTEMPTS = 4
"""Number of an open order's first checks that each mark it as open. It stays marked until it ends:
one mark is enough, unless another write conflicted or the index was throttled."""


@dataclass(frozen=True, slots=True)
class WatchOrders:
    """Send the next message of open orders again; expire those past their `deadline`.

    The delay doubles with each check of an order, up to `max_delay` seconds.
    """

    orders: OrderRepository
    checks: MessagePublisher
    shipping: MessagePublisher
    watches: MessagePublisher
    deadline: timedelta
    max_delay: int
    clock: Clock
    retry: Retry
    measure_age: Callable[[float], None] = lambda _: None
    """Takes the age of each open order that is checked, in seconds: their maximum is the oldest order's."""

    def process(self, messages: Sequence[WatchOrder]) -> set[str]:
        """Check every order of a batch, send its next message again, and schedule the next check.

        A pending order is checked again, or expires past its deadline; a confirmed one is shipped again; a
        refused one is released once more, which ends the watch. A message that is sent twice has no effect.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        failed: set[str] = set()
        to_check: list[Message] = []
        to_ship: list[Message] = []
        to_release: list[Message] = []
        to_watch: list[Message] = []
        # The stream may have sent two watches of one order: within a batch, that is one check and one new
        # watch.
        watched = {message.order_id: message for message in messages}
        stored = self.orders.get_many(watched.keys())

        def check(group: Sequence[WatchOrder]) -> None:
            (message,) = group
            order = update_with_retry(
                self.orders, self.retry, message.order_id, stored.get(message.order_id), self._expire_overdue
            )
            if order.is_open:
                if message.attempts < MARKED_ATTEMPTS:
                    self._mark_open(order.order_id)
                placed, now = (datetime.fromisoformat(time) for time in (order.create_time, self.clock()))
                self.measure_age(max((now - placed).total_seconds(), 0.0))
            if order.status is OrderStatus.PENDING:
                to_check.append(CheckOrder.of(order.details, order.correlation_id))
                to_watch.append(self._next_watch(message))
            match order.next_action():
                case NextAction.SHIP:
                    to_ship.append(ShipOrder.of(order.details, order.correlation_id))
                    to_watch.append(self._next_watch(message))
                case NextAction.RELEASE:
                    to_release.append(ReleaseOrder.of(order.details, order.correlation_id))
                case None:
                    pass

        groups = ([message] for message in watched.values())
        process_groups(failed, groups, lambda each: each.order_id, check, self.retry.has_time_left)
        failed |= self.checks.send([*to_check, *to_release]) | self.shipping.send(to_ship)
        return failed | self.watches.send([watch for watch in to_watch if watch.order_id not in failed])

    def _mark_open(self, order_id: str) -> None:
        """Have the order listed for operators.

        Its recovery must not depend on that: the list may be throttled just when many orders are late.
        """
        try:
            self.orders.mark_open(order_id)
        except Exception:
            logger.warning("it is not listed as open yet", exc_info=True, extra={"order_id": order_id})

    def _next_watch(self, message: WatchOrder) -> WatchOrder:
        delay = min(2 * max(message.delay, 1), self.max_delay)
        return WatchOrder.of(message.order_id, message.correlation_id, delay, message.attempts + 1)

    def _expire_overdue(self, order: Order) -> Order:
        now = self.clock()
        return order.expire(now=now) if order.is_overdue(now=now, deadline=self.deadline) else order
