"""What is open, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from order_capture.domain.ledger import primary_entity
from order_capture.domain.order import OrderStatus
from order_capture_ops import dead_letters
from order_capture_ops.dead_letters import DeadLetterQueue
from order_capture_ops.tables import Order, Tables, is_order, read_order

Tick = Callable[[str, int], None]


@dataclass(frozen=True)
class OpenOrder:
    """An order that is not over, and what it waits for."""

    order_id: str
    status: str
    age: float
    waits_for: tuple[str, ...]
    dead_letters: tuple[str, ...]


def stuck(
    tables: Tables,
    sqs: Any,
    dlqs: Iterable[DeadLetterQueue],
    tick: Tick = lambda *_: None,
    unreadable: list[str] | None = None,
) -> list[OpenOrder]:
    """All open orders, the oldest first. Few, as a rule: those that were placed in the last second.

    `unreadable` gets the ids of those that can't be read, and may be open.
    """
    orders = open_orders(tables, tick, unreadable)
    letters: dict[str | None, list[str]] = {}
    for dlq in dlqs:
        # The count lags by a minute at most; a letter is there for fourteen days.
        if orders and dead_letters.count(sqs, dlq):
            for letter in dead_letters.peek(sqs, dlq):
                letters.setdefault(letter.order_id, []).append(f"{dlq.name} ({letter.type})")
                tick("dead letters", 1)
    found = [
        OpenOrder(
            order.order_id,
            order.status,
            order.age(),
            tuple(waits_for(tables, order)),
            tuple(sorted(set(letters.get(order.order_id, [])))),
        )
        for order in orders
    ]
    return sorted(found, key=lambda order: -order.age)


def open_orders(tables: Tables, tick: Tick, unreadable: list[str] | None = None) -> list[Order]:
    """The orders that are not over, by a scan of the whole table, which has no index for them.

    `unreadable` gets the ids of those that can't be read.
    """
    orders: list[Order] = []
    for page in tables.orders.pages():
        for item in filter(is_order, page):
            order = read_order(item)
            if order is None and unreadable is not None:
                unreadable.append(item["orderId"]["S"])
            if order and order.is_open:
                orders.append(order)
        tick("orders", len(page))
    return orders


def waits_for(tables: Tables, order: Order) -> Iterable[str]:
    """What an open order waits for, in words."""
    if order.status is OrderStatus.CONFIRMED:
        yield "shipping"
    for table in tables.ledgers:
        if order.status is OrderStatus.PENDING and table.kind.check not in order.checks:
            place = primary_entity(table.kind.required_amounts(order.details)), order.order_id
            check = f"{table.kind.check.lower()} check"
            if hold := table.holds([place]).get(place):
                yield f"{check}: decided ({hold.decision.outcome}), its answer is not taken in yet"
            else:
                yield f"{check}: not made yet"
