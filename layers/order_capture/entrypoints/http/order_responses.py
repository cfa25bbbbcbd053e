"""Responses about orders, with the contract's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from order_capture.application.orders.capture_orders import Captured, CapturedBatch
from order_capture.application.orders.list_orders import OrderPage
from order_capture.application.snapshots import OrderSnapshot
from order_capture.domain.order import Order
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import MAX_ERRORS_IN_BATCH, RETRY_AFTER_SECONDS, problem

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

LOOK_SOON = {"Retry-After": str(RETRY_AFTER_SECONDS)}
"""The Retry-After of captured orders: when to read them."""


def order_view(order: Order) -> dict[str, Any]:
    """The whole order."""
    return OrderSnapshot.of(order).values()


def status_view(order: Order) -> dict[str, Any]:
    """An order's status, and the reason for it."""
    view = order_view(order)
    return {name: view[name] for name in ("orderId", "status", "logs", "checks")}


def orders_view(page: OrderPage) -> dict[str, Any]:
    """A page of orders."""
    return {"orders": [order_view(order) for order in page.orders]}


def page_headers(request: Request, page: OrderPage) -> dict[str, str]:
    """The Link header of the next page, if there can be one."""
    if page.next is None:
        return {}
    return pagination.next_page(request, "orders", pagination.encode(page.next))


def batch_view(batch: CapturedBatch) -> dict[str, Any]:
    """The result for each order of a batch: the order, or its problem."""
    return {
        "orders": [
            order_view(answer.order)
            if isinstance(answer, Captured)
            else {"problem": problem(answer, max_errors=MAX_ERRORS_IN_BATCH)}
            for answer in batch.answers
        ]
    }


def captured_headers(order: Order) -> dict[str, str]:
    """The headers that state where to get the order, and when."""
    # Relative to the request's URL (RFC 3986): correct behind any stage, domain or proxy.
    return {"Location": f"order/{order.order_id}", **LOOK_SOON}
