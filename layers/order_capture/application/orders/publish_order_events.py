"""Publish order events from the changes of the order table, and have every new order watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.messages import OrderEventMessage
from order_capture.application.orders.watch_orders import watch_new_orders
from order_capture.application.ports import MessagePublisher
from order_capture.domain.events import event_of
from order_capture.domain.order import Order

OrderChange = tuple[Order | None, Order]
"""An order before a write, None if it is new, and after it."""


@dataclass(frozen=True, slots=True)
class PublishOrderEvents:
    """Publish what happened to orders; the watchdog checks a new order after `delay` seconds."""

    watches: MessagePublisher
    events: MessagePublisher
    delay: int

    def publish(self, changes: Sequence[OrderChange]) -> None:
        """Publish the events of the changes, and watch the new orders.

        Raises:
            TransientError: not all could be sent; the whole batch must be retried, and its events then come
                again under the same ids.
            RejectedMessagesError: some never can be; all other events are sent.
        """
        events = [event for before, after in changes if (event := event_of(before, after))]
        self.events.send_all([OrderEventMessage(event) for event in events])
        # The watch last: it has no id by which a repeated one is recognised, and a batch that is retried for
        # hours would pile up watches. Waiting loses nothing: before it is published, no order can go on.
        new = [(after.order_id, after.correlation_id) for before, after in changes if before is None]
        watch_new_orders(self.watches, new, self.delay)
