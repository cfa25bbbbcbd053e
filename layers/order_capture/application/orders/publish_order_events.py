"""Publish changes: every new order is watched, and what happens to orders is told to who wants to know."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.application.messages import OrderEventMessage
from order_capture.application.orders.watch_orders import watch_new_orders
from order_capture.application.ports import MessagePublisher
from order_capture.domain.events import event_of
from order_capture.domain.order import Order

OrderChange = tuple[Order | None, Order]
"""An order before a write, None if it is new, and after it."""


def publish_order_events(
    watchdog: MessagePublisher, listeners: MessagePublisher, changes: Sequence[OrderChange], delay: int
) -> None:
    """Have each new order looked at after `delay` seconds, and publish what the changes mean.

    Raises:
        TemporaryError: not all could be sent; the whole batch is to be tried again, and its events then come
            again under the same ids.
        RefusedMessagesError: some never can be; all other events are sent.
    """
    events = [event for before, after in changes if (event := event_of(before, after))]
    listeners.send_all([OrderEventMessage(event) for event in events])
    # The watch last: it has no id to be known by when it comes again, and a batch that is tried for hours
    # would pile up watches. Nothing is lost by waiting: without SNS, the watchdog could drive no order on.
    new = [(after.order_id, after.correlation_id) for before, after in changes if before is None]
    watch_new_orders(watchdog, new, delay)
