"""Publish order events again that change_publisher could not publish or read.

All events can be derived from the order's timeline, and keep their ids, so consumers skip events that they
have processed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from order_capture.adapters.dynamodb.order_repository import order_from
from order_capture.adapters.dynamodb.types import Item
from order_capture.adapters.messaging.publishers import BATCH_ENTRIES, EnvelopeFactory, TopicPublisher
from order_capture.adapters.system import backoff, clock, new_id
from order_capture.application.messages import OrderEventMessage
from order_capture.domain.errors import RejectedMessagesError
from order_capture.domain.events import events_of
from order_capture.domain.order import Order
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.republish import batches
from order_capture_ops.stack import Stack, StackError
from order_capture_ops.tables import UNREADABLE, Tables, is_order


@dataclass
class RepublishedEvents:
    """What was published, or would be without `dry_run`."""

    orders: int = 0
    events: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Malformed orders; see `audit`."""
    refused: list[str] = field(default_factory=list)
    """Orders with an event that SNS rejects as too large."""


def republish_events(
    stack: Stack,
    order_ids: Sequence[str],
    since: str = "",
    *,
    rate: float | None = None,
    dry_run: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
) -> RepublishedEvents:
    """Publish the events of these orders, or of all orders if none are given, since a time.

    Args:
        stack: the stack.
        order_ids: the orders.
        since: ISO 8601, UTC, to the millisecond; empty for all events.
        rate: at most this many events a second.
        dry_run: count them only.
        on_progress: is called with the number of orders read.

    Raises:
        StackError: one of the orders does not exist; nothing is published.
        TransientError: SNS did not accept all of them; the whole command may be repeated.
    """
    envelopes = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    publisher = TopicPublisher(stack.client("sns"), stack.output("OrderEventTopicArn"), envelopes)
    size = BATCH_ENTRIES if rate is None else max(1, int(min(BATCH_ENTRIES, rate)))
    result, started = RepublishedEvents(), time.monotonic()
    for orders in _orders(stack, order_ids, result, on_progress):
        events = [event for order in orders for event in events_of(order) if event.change.time >= since]
        result.orders += len({event.order.order_id for event in events})
        for batch in batches(events, size):
            if not dry_run:
                try:
                    publisher.send_all([OrderEventMessage(event) for event in batch])
                except RejectedMessagesError as error:
                    result.refused += error.subjects
            result.events += len(batch)
            if rate is not None and not dry_run:
                time.sleep(max(0.0, started + result.events / rate - time.monotonic()))
    return result


def _orders(
    stack: Stack, order_ids: Sequence[str], result: RepublishedEvents, on_progress: ProgressCallback
) -> Iterator[list[Order]]:
    table = Tables.of(stack).orders
    pages: Iterable[list[Item]] = table.pages()
    if order_ids:
        found = list(table.get_many({"orderId": order_id} for order_id in dict.fromkeys(order_ids)))
        if missing := sorted({*order_ids} - {item["orderId"]["S"] for item in found if is_order(item)}):
            raise StackError(f"There is no order {', '.join(missing)} in {stack.name}.")
        pages = [found]
    for page in pages:
        orders = []
        for item in page:
            try:
                order = order_from(item)
            except UNREADABLE:
                result.unreadable.append(item["orderId"]["S"])
            else:
                orders += [order] if order else []
        yield orders
        on_progress("orders", len(page))
