"""Have the watchdog check orders now, as it does on its own some time after they were placed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.orders.watch_orders import watch_new_orders
from order_capture.application.ports import MessagePublisher, OrderRepository
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

DELAY = 1
"""Seconds until the check. Not 0, since each check doubles the delay before the next."""

MAX_ORDERS = 1000
"""Maximum orders of a request for all open orders, the oldest first: a hundred calls to SQS."""


@dataclass(frozen=True, slots=True)
class RecheckOrders:
    """Put orders back on the watchdog's queue. Checking one twice is harmless."""

    orders: OrderRepository
    watches: MessagePublisher

    def recheck(self, order_ids: Sequence[str]) -> int:
        """Have these orders checked, or, without any, the open ones. Returns their number.

        Raises:
            NotFoundError: one of them does not exist; none is checked.
            TransientError: not all could be sent; the request may be repeated.
        """
        # A batch read refuses duplicate keys.
        requested = [*dict.fromkeys(order_ids)] or [
            each.order_id for each in self.orders.list_open(None, MAX_ORDERS)
        ]
        found: dict[str, Order] = {}
        for start in range(0, len(requested), 100):  # the limit of one batch read
            found.update(self.orders.get_many(requested[start : start + 100]))
        if order_ids and (missing := sorted({*order_ids} - found.keys())):
            raise NotFoundError(f"Unknown or unreadable: order {', '.join(missing)}.")
        orders = [order for order in found.values() if order_ids or order.is_open]
        watch_new_orders(self.watches, [(each.order_id, each.correlation_id) for each in orders], DELAY)
        return len(orders)
