"""Put orders back on the watchdog's queue, as change_publisher does when they are placed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher
from order_capture.adapters.operations.stack import Stack
from order_capture.adapters.system import backoff, clock, new_id
from order_capture.application.operations.recheck_orders import RecheckOrders
from order_capture_ops.open_orders import open_orders, orders
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import Tables, is_order, read_order


def recheck(
    stack: Stack,
    order_ids: Sequence[str],
    *,
    scan: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
    unreadable: list[str] | None = None,
) -> list[str]:
    """Enqueue these orders, or all open ones if none are given; returns the ids that were enqueued.

    Open orders are those that the watchdog has found open before. `scan` also reads the whole order table for
    those that change_publisher could not enqueue: its dead letters have positions in the table's stream, not
    order ids. The ids of unreadable orders are then appended to `unreadable`.

    Raises:
        NotFoundError: one of the orders does not exist; none is enqueued.
        TransientError: not all could be sent; it may be retried.
    """
    if not order_ids:
        order_ids = (
            [*_scanned(stack, on_progress, unreadable)]
            if scan
            else [each.order.order_id for each in open_orders(stack, on_progress)]
        )
    envelopes = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    publisher = QueuePublisher(stack.client("sqs"), stack.output("OrderWatchQueueUrl"), envelopes)
    if order_ids:
        RecheckOrders(orders(stack), publisher).recheck(order_ids)
    return [*order_ids]


def _scanned(stack: Stack, on_progress: ProgressCallback, unreadable: list[str] | None) -> Iterator[str]:
    """The ids of all orders without a terminal status."""
    for page in Tables.of(stack).orders.pages():
        for item in filter(is_order, page):
            order = read_order(item)
            if order is None and unreadable is not None:
                unreadable.append(item["orderId"]["S"])
            if order and order.is_open:
                yield order.order_id
        on_progress("orders", len(page))
