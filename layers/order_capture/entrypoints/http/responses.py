"""What clients are shown, under the contract's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from order_capture.adapters.serializers.snapshots import amounts, order_values
from order_capture.application.orders.capture_orders import Captured, CapturedBatch
from order_capture.application.orders.list_orders import OrderPage
from order_capture.domain.ledger import Balance, LedgerSpec
from order_capture.domain.order import Order
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import MAX_ERRORS_IN_BATCH, RETRY_AFTER_SECONDS, problem

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

LOOK_SOON = {"Retry-After": str(RETRY_AFTER_SECONDS)}
"""When to look orders up that were taken in."""


def orders_view(page: OrderPage) -> dict[str, Any]:
    """Some of a customer's orders."""
    return {"orders": [order_values(order) for order in page.orders]}


def page_headers(request: Request, page: OrderPage) -> dict[str, str]:
    """Where the next page is, if there can be one."""
    if page.next is None:
        return {}
    return pagination.next_page(request, "orders", pagination.encode(page.next))


def batch_view(batch: CapturedBatch) -> dict[str, Any]:
    """What became of each order of a batch: the order, or its own problem."""
    return {
        "orders": [
            order_values(answer.order)
            if isinstance(answer, Captured)
            else {"problem": problem(answer, max_errors=MAX_ERRORS_IN_BATCH)}
            for answer in batch.answers
        ]
    }


def captured_headers(order: Order) -> dict[str, str]:
    """Where to look the order up, and when."""
    # Relative to the request's own address (RFC 3986): right behind any stage, domain or proxy.
    return {"Location": f"order/{order.order_id}", **LOOK_SOON}


def head_view(kind: LedgerSpec, name: str, entity: str, head: Balance) -> dict[str, Any]:
    """How a customer or product stands; `name` is its field's name."""
    return {
        name: entity,
        **amounts(kind, head),
        "updateTime": head.update_time,
    }
