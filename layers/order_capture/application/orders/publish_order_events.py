"""Publish order events from the changes of the order table, and schedule the watch of new orders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from order_capture.application.messages import OrderEventMessage
from order_capture.application.orders.watch_orders import watch_new_orders
from order_capture.application.ports import MessagePublisher
from order_capture.domain.events import OrderEvent, event_of
from order_capture.domain.order import Order

logger = logging.getLogger(__name__)

Wanted = TypeVar("Wanted")

OrderChange = tuple[Order | None, Order]
"""An order before a write, None if it is new, and after it."""


@dataclass(frozen=True, slots=True)
class PublishOrderEvents:
    """Publish the events of orders; the watchdog checks a new order after `delay` seconds.

    `may_have_webhooks` returns which of the given customers may have webhooks, `may_have_connections` whether
    there may be any WebSocket subscription.
    """

    watches: MessagePublisher
    events: MessagePublisher
    may_have_webhooks: Callable[[Collection[str]], Collection[str]]
    may_have_connections: Callable[[], bool]
    delay: int

    def publish(self, changes: Sequence[OrderChange]) -> None:
        """Publish the events of the changes, and watch the new orders.

        Raises:
            TransientError: not all could be sent; the whole batch must be retried, and its events are then
                published again with the same ids.
            RejectedMessagesError: some can never be sent; all other events are.
        """
        events = [event for before, after in changes if (event := event_of(before, after))]
        if events:
            self.events.send_all(self._messages(events))
        # The watch last: it has no id to detect duplicates, and a batch that is retried for hours would pile
        # up watches. Waiting loses nothing: no order can continue before it is published.
        new = [(after.order_id, after.correlation_id) for before, after in changes if before is None]
        watch_new_orders(self.watches, new, self.delay)

    def _messages(self, events: Sequence[OrderEvent]) -> list[OrderEventMessage]:
        """The events, each with the kinds of consumers that it may have.

        Consumers are read here, after the changes were committed: all earlier subscriptions are included.
        """
        customers: Collection[str] = {event.order.details.customer_id for event in events}
        with_webhooks = _read(lambda: self.may_have_webhooks(customers), otherwise=customers)
        for_connections = _read(self.may_have_connections, otherwise=True)
        return [
            OrderEventMessage(
                event,
                for_webhooks=bool(
                    event.order.callback_url or event.order.details.customer_id in with_webhooks
                ),
                for_connections=for_connections,
            )
            for event in events
        ]


def _read(read: Callable[[], Wanted], *, otherwise: Wanted) -> Wanted:
    """The result of `read`; `otherwise` if it fails, since it only saves work and must not delay an event."""
    try:
        return read()
    except Exception:
        logger.warning(
            "the subscriptions could not be read: the events are sent to all senders", exc_info=True
        )
        return otherwise
