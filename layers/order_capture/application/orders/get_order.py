"""Get an order as it stands, at once or when its status has changed."""

from __future__ import annotations

from collections.abc import Callable

from order_capture.application.callers import Caller
from order_capture.application.ports import OrderRepository
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

# Seconds between the looks for a client that waits. An order takes well under a second on its way, so the
# first looks come soon; one that takes longer is looked at twice a second.
FIRST_DELAYS = (0.1, 0.2, 0.3)
LATER_DELAYS = 0.5

Sleep = Callable[[float], None]
"""Does nothing for so many seconds."""


def get_order(
    orders: OrderRepository,
    order_id: str,
    caller: Caller,
    has_changed: Callable[[Order], bool],
    seconds: float,
    sleep: Sleep,
) -> Order:
    """The order: at once, or when its status has changed, or after so many `seconds`.

    There is nothing to wait for if its status can change no more, or if the order as it stands is news to the
    client.

    Raises:
        NotFoundError: there is none of that id that the caller reaches.
    """
    order = find_order(orders, order_id, caller)
    if has_changed(order):
        return order
    status, waited, attempts = order.status, 0.0, iter(FIRST_DELAYS)
    while waited < seconds and order.is_open and order.status is status:
        backoff = min(next(attempts, LATER_DELAYS), seconds - waited)
        sleep(backoff)
        waited += backoff
        order = find_order(orders, order_id, caller)
    return order


def find_order(orders: OrderRepository, order_id: str, caller: Caller) -> Order:
    """The order as it stands.

    Raises:
        NotFoundError: there is none of that id that the caller reaches.
    """
    order = orders.get(order_id)
    if order is None or not caller.can_access(order.details.customer_id):
        raise NotFoundError("There is no such order.")
    return order
