"""Subscribe WebSocket connections to the events of an order, of a customer's orders, or of all orders."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.orders.get_order import find_order
from order_capture.application.ports import Clock, OrderRepository, SubscriptionRepository, SubscriptionTarget
from order_capture.domain.errors import NotFoundError, OperatorsOnlyError
from order_capture.domain.order import Order

# Of one order, of one customer, or of all. Each event is sent to every subscriber by a call of its own, which
# takes some ten milliseconds. A batch of ten events for the fifty of an order, the fifty of its customer and
# the fifty of all takes fifteen seconds. So no client can delay the others' events by opening ever more
# connections.
MAX_SUBSCRIBERS = 50


@dataclass(frozen=True, slots=True)
class ManageSubscriptions:
    """Add and remove the subscriptions of a connection."""

    orders: OrderRepository
    subscriptions: SubscriptionRepository
    clock: Clock

    def subscribe(self, connection_id: str, target: SubscriptionTarget, caller: Caller) -> Order | None:
        """Subscribe a connection to an order, to all orders of a customer, or to all orders.

        Returns:
            The order as it stands, read after its events have begun to be sent: an event that came too early
            to be sent is in it already. None for more than one order.

        Raises:
            NotFoundError: the caller can access none with this id.
            OperatorsOnlyError: a customer asks for all orders.
            SubscriptionLimitError: the connection has too many subscriptions, or the target too many
                subscribers.
        """
        match target.kind:
            case "order":
                find_order(self.orders, target.id, caller)
            case "customer":
                if not caller.can_access(target.id):
                    raise NotFoundError("There is no such customer.")
            case "all":
                if caller.is_customer:
                    raise OperatorsOnlyError
        self.subscriptions.add(connection_id, target, self.clock(), MAX_SUBSCRIBERS)
        return find_order(self.orders, target.id, caller) if target.kind == "order" else None

    def unsubscribe(self, connection_id: str) -> None:
        """Remove all subscriptions of a connection."""
        self.subscriptions.remove(connection_id)
