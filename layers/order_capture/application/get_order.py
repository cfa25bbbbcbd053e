"""Get an order as it stands."""

from __future__ import annotations

from order_capture.application.ports import Orders
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order


def get_order(orders: Orders, order_id: str) -> Order:
    """The order.

    Raises:
        NotFoundError: there is none of that id.
    """
    order = orders.get(order_id)
    if order is None:
        raise NotFoundError("There is no such order.")
    return order
