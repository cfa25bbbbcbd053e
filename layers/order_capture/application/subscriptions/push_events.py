"""Follow orders: whoever asks is told at once what happens to an order, or to all orders of a customer."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from order_capture.application.batches import process_groups
from order_capture.application.callers import Caller
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.orders.get_order import find_order
from order_capture.application.ports import (
    ConnectionClient,
    HasTimeLeft,
    OrderRepository,
    SubscriptionRepository,
    SubscriptionTarget,
)
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

# Of one order or customer. Each event is sent to every follower by a call of its own, which takes some ten
# milliseconds: a batch of ten events for the fifty of an order and the fifty of its customer is over in ten
# seconds, and nobody can hold up the others' news by opening ever more connections.
MAX_SUBSCRIBERS = 50


def subscribe(
    orders: OrderRepository,
    followers: SubscriptionRepository,
    connection_id: str,
    what: SubscriptionTarget,
    caller: Caller,
    now: str,
) -> Order | None:
    """Have a connection told of an order, or of all orders of a customer.

    Returns:
        The order as it stands, read after its events have begun to be sent: an event that came too early to
        be sent is in it already. None for a customer.

    Raises:
        NotFoundError: there is none of that id that the caller reaches.
        SubscriptionLimitError: the connection follows too much, or too many follow the same.
    """
    if what.is_order:
        find_order(orders, what.id, caller)
    elif not caller.can_access(what.id):
        raise NotFoundError("There is no such customer.")
    followers.add(connection_id, what, now, MAX_SUBSCRIBERS)
    return find_order(orders, what.id, caller) if what.is_order else None


def push_events(
    followers: SubscriptionRepository,
    connections: ConnectionClient,
    news: Sequence[ReceivedOrderEvent],
    has_time_left: HasTimeLeft = lambda: True,
) -> set[str]:
    """Send each event to whoever follows its order or its customer, and forget connections that are gone.

    Returns the ids of the orders whose events could not be sent to all: they come again, and some followers
    then get them twice, under the same id.
    """

    def push(group: Sequence[ReceivedOrderEvent]) -> None:
        (event,) = group
        following = {
            connection_id: what
            for what in (
                SubscriptionTarget.order(event.order_id),
                SubscriptionTarget.customer(event.customer_id),
            )
            for connection_id in followers.subscribers(what)
        }
        for connection_id, what in sorted(following.items(), key=lambda pair: pair[0]):
            if not connections.send(connection_id, event.body):
                followers.remove(connection_id, what)

    failed: set[str] = set()
    in_order = sorted(news, key=lambda event: event.sequence)
    process_groups(failed, ([event] for event in in_order), attrgetter("order_id"), push, has_time_left)
    return failed
