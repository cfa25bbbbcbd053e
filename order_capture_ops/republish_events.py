"""Publish again what happened to orders, for what change_publisher had to give up or could not read.

An order's own log tells all of its events. Each has the id that it always had, so that whoever has heard of
it already passes it over.
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
from order_capture_ops.republish import batches
from order_capture_ops.stack import Stack, StackError
from order_capture_ops.stuck import Tick
from order_capture_ops.tables import UNREADABLE, Tables, is_order


@dataclass
class RepublishedEvents:
    """What was published, or would have been."""

    orders: int = 0
    events: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Orders that are not as the functions write them: `audit` says more."""
    refused: list[str] = field(default_factory=list)
    """Orders with an event that SNS does not take, being too large."""


def republish_events(
    where: Stack,
    order_ids: Sequence[str],
    since: str = "",
    *,
    rate: float | None = None,
    dry_run: bool = False,
    tick: Tick = lambda *_: None,
) -> RepublishedEvents:
    """Publish the events of these orders, or of all if none are named, that happened at a time or after it.

    Args:
        where: the stack.
        order_ids: whose events.
        since: ISO 8601, UTC, to the millisecond; empty for any time.
        rate: events a second, at most.
        dry_run: only counts them.
        tick: is told how many more orders were read.

    Raises:
        StackError: one of them is no order; nothing was published.
        TemporaryError: SNS did not take some; it may all be done again.
    """
    sender = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    listeners = TopicPublisher(where.client("sns"), where.output("OrderEventTopicArn"), sender)
    size = BATCH_ENTRIES if rate is None else max(1, int(min(BATCH_ENTRIES, rate)))
    result, started = RepublishedEvents(), time.monotonic()
    for orders in _orders(where, order_ids, result, tick):
        events = [event for order in orders for event in events_of(order) if event.time >= since]
        result.orders += len({event.order.order_id for event in events})
        for batch in batches(events, size):
            if not dry_run:
                try:
                    listeners.send_all([OrderEventMessage(event) for event in batch])
                except RejectedMessagesError as error:
                    result.refused += error.subjects
            result.events += len(batch)
            if rate is not None and not dry_run:
                time.sleep(max(0.0, started + result.events / rate - time.monotonic()))
    return result


def _orders(
    where: Stack, order_ids: Sequence[str], result: RepublishedEvents, tick: Tick
) -> Iterator[list[Order]]:
    table = Tables.of(where).orders
    pages: Iterable[list[Item]] = table.pages()
    if order_ids:
        named = list(table.get_many({"orderId": order_id} for order_id in dict.fromkeys(order_ids)))
        if missing := sorted({*order_ids} - {item["orderId"]["S"] for item in named if is_order(item)}):
            raise StackError(f"There is no order {', '.join(missing)} in {where.name}.")
        pages = [named]
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
        tick("orders", len(page))
