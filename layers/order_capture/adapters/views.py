"""What clients are shown, under the contract's names."""

from __future__ import annotations

from typing import Any

from order_capture.adapters import cursors
from order_capture.adapters.http import Request
from order_capture.adapters.problems import MAX_ERRORS_IN_BATCH, RETRY_AFTER_SECONDS, problem
from order_capture.adapters.snapshots import figures, order_values
from order_capture.application.capture_orders import Captured, CapturedBatch
from order_capture.application.list_orders import Page
from order_capture.domain.ledger import Head, LedgerKind
from order_capture.domain.order import Order

LOOK_SOON = {"Retry-After": str(RETRY_AFTER_SECONDS)}
"""When to look orders up that were taken in."""


def orders_view(page: Page) -> dict[str, Any]:
    """Some of a customer's orders."""
    return {"orders": [order_values(order) for order in page.orders]}


def page_headers(request: Request, page: Page) -> dict[str, str]:
    """Where the next page is, if there can be one."""
    if page.next is None:
        return {}
    return cursors.next_page(request, "orders", cursors.encode(page.next))


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


def head_view(kind: LedgerKind, name: str, entity: str, head: Head) -> dict[str, Any]:
    """How a customer or product stands; `name` is its field's name."""
    return {
        name: entity,
        **figures(kind, head),
        "updateTime": head.update_time,
    }
