"""Get an order as it stands, at once or when its status has changed."""

from __future__ import annotations

from collections.abc import Callable

from order_capture.application.callers import Caller
from order_capture.application.ports import Orders
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

# Seconds between the looks for a client that waits. An order takes well under a second on its way, so the
# first looks come soon; one that takes longer is looked at twice a second.
FIRST_LOOKS = (0.1, 0.2, 0.3)
LATER_LOOKS = 0.5

Sleep = Callable[[float], None]
"""Does nothing for so many seconds."""


def get_order(
    orders: Orders,
    order_id: str,
    caller: Caller,
    is_news: Callable[[Order], bool],
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
    if is_news(order):
        return order
    status, waited, looks = order.status, 0.0, iter(FIRST_LOOKS)
    while waited < seconds and order.is_open and order.status is status:
        pause = min(next(looks, LATER_LOOKS), seconds - waited)
        sleep(pause)
        waited += pause
        order = find_order(orders, order_id, caller)
    return order


def find_order(orders: Orders, order_id: str, caller: Caller) -> Order:
    """The order as it stands.

    Raises:
        NotFoundError: there is none of that id that the caller reaches.
    """
    order = orders.get(order_id)
    if order is None or not caller.reaches(order.terms.customer_id):
        raise NotFoundError("There is no such order.")
    return order
