"""Get an order, immediately or when its status has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.ports import OrderRepository, Sleep
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

# Seconds between the reads for a client that waits. An order usually takes well under a second, so the first
# reads come soon; an order that takes longer is read twice a second.
FIRST_DELAYS = (0.1, 0.2, 0.3)
LATER_DELAYS = 0.5


@dataclass(frozen=True, slots=True)
class GetOrder:
    """Read an order, for a client that may wait for its next status."""

    orders: OrderRepository
    sleep: Sleep

    def get(
        self, order_id: str, caller: Caller, has_changed: Callable[[Order], bool], seconds: float
    ) -> Order:
        """Return the order: when its status has changed, or at the latest after `seconds`.

        There is no wait if its status is final, or if it has already changed for the client.

        Raises:
            NotFoundError: the caller can access none with this id.
        """
        order = find_order(self.orders, order_id, caller)
        if has_changed(order):
            return order
        status, waited, delays = order.status, 0.0, iter(FIRST_DELAYS)
        while waited < seconds and order.is_open and order.status is status:
            delay = min(next(delays, LATER_DELAYS), seconds - waited)
            self.sleep(delay)
            waited += delay
            order = find_order(self.orders, order_id, caller)
        return order


def find_order(orders: OrderRepository, order_id: str, caller: Caller) -> Order:
    """Return the order.

    Raises:
        NotFoundError: the caller can access none with this id.
    """
    order = orders.get(order_id)
    if order is None or not caller.can_access(order.details.customer_id):
        raise NotFoundError("There is no such order.")
    return order
