"""Put orders back on the watchdog's queue, as change_publisher does when they are placed.

For orders that change_publisher could not enqueue: its dead letters name positions in the table's stream, not
orders. Checking an order twice is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher
from order_capture.adapters.system import backoff, clock, new_id
from order_capture.application.orders.watch_orders import watch_new_orders
from order_capture_ops.open_orders import scan_open_orders
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack, StackError
from order_capture_ops.tables import StoredOrder, Tables

# Seconds until the first check. Not 0, since each check doubles the delay before the next.
DELAY = 1


def recheck(
    stack: Stack,
    order_ids: Sequence[str],
    on_progress: ProgressCallback = lambda *_: None,
    unreadable: list[str] | None = None,
) -> list[StoredOrder]:
    """Enqueue these orders, or all open ones if none are given; returns those that were enqueued.

    The ids of orders that can't be read are appended to `unreadable`.

    Raises:
        StackError: one of the orders does not exist; none is enqueued.
        TransientError: not all could be sent; it may be tried again.
    """
    tables = Tables.of(stack)
    if order_ids:
        requested = tables.orders.orders(order_ids)
        if missing := sorted({*order_ids} - requested.keys()):
            raise StackError(f"There is no order {', '.join(missing)} in {stack.name}.")
        orders = [order for order in requested.values() if order]
        if unreadable is not None:
            unreadable += sorted(order_id for order_id, order in requested.items() if order is None)
    else:
        orders = scan_open_orders(tables, on_progress, unreadable)
    envelopes = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    publisher = QueuePublisher(stack.client("sqs"), stack.output("OrderWatchQueueUrl"), envelopes)
    watch_new_orders(publisher, [(order.order_id, order.correlation_id) for order in orders], DELAY)
    return orders
