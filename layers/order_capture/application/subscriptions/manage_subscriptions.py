"""Subscribe WebSocket connections to the events of an order, or of all orders of a customer."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.orders.get_order import find_order
from order_capture.application.ports import Clock, OrderRepository, SubscriptionRepository, SubscriptionTarget
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

# Of one order or customer. Each event is sent to every subscriber by a call of its own, which takes some ten
# milliseconds: a batch of ten events for the fifty of an order and the fifty of its customer takes ten
# seconds, and nobody can delay the others' events by opening ever more connections.
MAX_SUBSCRIBERS = 50


@dataclass(frozen=True, slots=True)
class ManageSubscriptions:
    """Add and remove the subscriptions of a connection."""

    orders: OrderRepository
    subscriptions: SubscriptionRepository
    clock: Clock

    def subscribe(self, connection_id: str, target: SubscriptionTarget, caller: Caller) -> Order | None:
        """Subscribe a connection to an order, or to all orders of a customer.

        Returns:
            The order as it stands, read after its events have begun to be sent: an event that came too early
            to be sent is in it already. None for a customer.

        Raises:
            NotFoundError: there is none of that id that the caller can access.
            SubscriptionLimitError: the connection has too many subscriptions, or the target too many
                subscribers.
        """
        if target.is_order:
            find_order(self.orders, target.id, caller)
        elif not caller.can_access(target.id):
            raise NotFoundError("There is no such customer.")
        self.subscriptions.add(connection_id, target, self.clock(), MAX_SUBSCRIBERS)
        return find_order(self.orders, target.id, caller) if target.is_order else None

    def unsubscribe(self, connection_id: str) -> None:
        """Remove all subscriptions of a connection."""
        self.subscriptions.remove(connection_id)
