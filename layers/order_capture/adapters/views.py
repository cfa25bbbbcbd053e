"""What clients are shown, under the contract's names."""

from __future__ import annotations

from typing import Any

from order_capture.adapters import cursors
from order_capture.adapters.http import Request
from order_capture.adapters.problems import RETRY_AFTER_SECONDS, problem
from order_capture.adapters.snapshots import figures, order_values
from order_capture.application.adjust_balance import Adjusted
from order_capture.application.capture_orders import Captured, CapturedBatch
from order_capture.application.list_orders import Page
from order_capture.domain.ledger import Head, LedgerKind


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
            order_values(answer.order) if isinstance(answer, Captured) else {"problem": problem(answer)}
            for answer in batch.answers
        ]
    }


def captured_headers(captured: Captured) -> dict[str, str]:
    """Where to look the order up, and when."""
    return {
        # Relative to the request's own address (RFC 3986): right behind any stage, domain or proxy.
        "Location": f"order/{captured.order.order_id}",
        "Retry-After": str(RETRY_AFTER_SECONDS),
        **replay_headers(captured),
    }


def batch_headers(batch: CapturedBatch) -> dict[str, str]:
    """When to look the orders up."""
    return {"Retry-After": str(RETRY_AFTER_SECONDS), **replay_headers(batch)}


def replay_headers(answer: Captured | CapturedBatch | Adjusted) -> dict[str, str]:
    """Tells a client that this is the answer to an earlier request with the same key."""
    return {"Idempotency-Replayed": "true"} if answer.replayed else {}


def head_view(kind: LedgerKind, name: str, entity: str, head: Head) -> dict[str, Any]:
    """How a customer or product stands; `name` is its field's name."""
    return {
        name: entity,
        **figures(kind, head),
        "updateTime": head.update_time,
    }
