"""Put orders under the watchdog's eyes again, as the order table's stream did when they were placed.

For what change_publisher could not hand on: its dead letters tell where in the stream they were, not which
orders. An order that is watched twice is looked at twice, which does nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher
from order_capture.adapters.system import backoff, clock, new_id
from order_capture.application.orders.watch_orders import watch_new_orders
from order_capture_ops.stack import Stack, StackError
from order_capture_ops.stuck import Tick, open_orders
from order_capture_ops.tables import Order, Tables

# Seconds until the first look. It can't be none: each look doubles the time to the next.
DELAY = 1


def watch(
    where: Stack,
    order_ids: Sequence[str],
    tick: Tick = lambda *_: None,
    unreadable: list[str] | None = None,
) -> list[Order]:
    """Have these orders looked at, or all that are open if none are named; returns those it were.

    `unreadable` gets the ids of those that can't be read, and are passed over.

    Raises:
        StackError: one of them is no order; none is watched.
        TemporaryError: not all could be sent; it may be tried again.
    """
    tables = Tables.of(where)
    if order_ids:
        named = tables.orders.orders(order_ids)
        if missing := sorted({*order_ids} - named.keys()):
            raise StackError(f"There is no order {', '.join(missing)} in {where.name}.")
        orders = [order for order in named.values() if order]
        if unreadable is not None:
            unreadable += sorted(order_id for order_id, order in named.items() if order is None)
    else:
        orders = open_orders(tables, tick, unreadable)
    sender = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    outbox = QueuePublisher(where.client("sqs"), where.output("OrderWatchQueueUrl"), sender)
    watch_new_orders(outbox, [(order.order_id, order.correlation_id) for order in orders], DELAY)
    return orders
