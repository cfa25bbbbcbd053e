"""Subscribe WebSocket connections to the events of an order, of a customer's orders, or of all orders."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.orders.get_order import find_order
from order_capture.application.ports import Clock, OrderRepository, SubscriptionRepository, SubscriptionTarget
from order_capture.domain.errors import NotFoundError, OperatorsOnlyError
from order_capture.domain.order import Order

# Of one order, of one customer, or of all orders. Each event is sent to each subscriber in a separate call of
# some ten milliseconds. A batch of ten events takes fifteen seconds with fifty subscribers of an order, fifty
# of its customer and fifty of all orders. So no client can delay the events of others by opening ever more
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
            The order, read after its subscription was stored: it includes every event that was too early to
            be sent. None for more than one order.

        Raises:
            NotFoundError: the caller can access none with this id.
            OperatorsOnlyError: a customer requests all orders.
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
