"""Open orders, and what each of them waits for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from order_capture.domain.order import OrderStatus
from order_capture_ops import dead_letters
from order_capture_ops.dead_letters import DeadLetterQueue
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import StoredOrder, Tables, is_order, read_order


@dataclass(frozen=True)
class OpenOrder:
    """An order without a terminal status, and what it waits for."""

    order_id: str
    status: str
    age: float
    waits_for: tuple[str, ...]
    dead_letters: tuple[str, ...]


def open_orders(
    tables: Tables,
    sqs: Any,
    dlqs: Iterable[DeadLetterQueue],
    on_progress: ProgressCallback = lambda *_: None,
    unreadable: list[str] | None = None,
) -> list[OpenOrder]:
    """All open orders, oldest first. Normally these are few: those placed within the last second.

    The ids of orders that can't be read, and so may be open, are appended to `unreadable`.
    """
    orders = scan_open_orders(tables, on_progress, unreadable)
    by_order: dict[str | None, list[str]] = {}
    for dlq in dlqs:
        # The count lags by a minute at most, and a dead letter is kept for fourteen days.
        if orders and dead_letters.count(sqs, dlq):
            for dead_letter in dead_letters.peek(sqs, dlq, on_progress=on_progress):
                by_order.setdefault(dead_letter.order_id, []).append(f"{dlq.name} ({dead_letter.type})")
    found = [
        OpenOrder(
            order.order_id,
            order.status,
            order.age(),
            tuple(waits_for(tables, order)),
            tuple(sorted(set(by_order.get(order.order_id, [])))),
        )
        for order in orders
    ]
    return sorted(found, key=lambda order: -order.age)


def scan_open_orders(
    tables: Tables, on_progress: ProgressCallback, unreadable: list[str] | None = None
) -> list[StoredOrder]:
    """The orders without a terminal status. Scans the whole table, which has no index for them.

    The ids of orders that can't be read are appended to `unreadable`.
    """
    orders: list[StoredOrder] = []
    for page in tables.orders.pages():
        for item in filter(is_order, page):
            order = read_order(item)
            if order is None and unreadable is not None:
                unreadable.append(item["orderId"]["S"])
            if order and order.is_open:
                orders.append(order)
        on_progress("orders", len(page))
    return orders


def waits_for(tables: Tables, order: StoredOrder) -> Iterable[str]:
    """Describe what an open order waits for."""
    if order.status is OrderStatus.CONFIRMED:
        yield "shipping"
        return
    holds = {
        table.spec.check: table.holds([order.order_id]).get(order.order_id)
        for table in tables.ledgers
        if table.spec.check not in order.checks
    }
    for check, hold in holds.items():
        if hold is None:
            yield f"{check.lower()} check: not done yet"
        elif (
            not hold.is_held or None not in holds.values()
        ):  # what one check holds is recorded with the other
            yield f"{check.lower()} check: done ({hold.decision.outcome}), its result is not recorded yet"
