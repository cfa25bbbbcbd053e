"""Push order events to the WebSocket connections that are subscribed to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from order_capture.application.batches import collecting_failures, process_groups
from order_capture.application.messages import ReceivedOrderEvent
from order_capture.application.ports import (
    Clock,
    ConnectionClient,
    SubscriptionRepository,
    SubscriptionTarget,
)
from order_capture.application.retry import HasTimeLeft


@dataclass(frozen=True, slots=True)
class PushEvents:
    """Send events to their subscribers."""

    subscriptions: SubscriptionRepository
    connections: ConnectionClient
    clock: Clock
    has_time_left: HasTimeLeft

    def process(self, events: Sequence[ReceivedOrderEvent]) -> set[str]:
        """Send each event of a batch to its subscribers, and remove connections that are closed.

        Returns:
            The ids of the orders whose events could not be sent to all subscribers. They are retried, and
            some subscribers then get them twice, with the same id.
        """
        failed: set[str] = set()
        subscribers: dict[SubscriptionTarget, set[str]] = {}
        with collecting_failures(failed, {event.order_id for event in events}):
            # Read after the events were received: so everyone who subscribed before them gets them.
            if not self.subscriptions.has_any(self.clock()):
                return failed
            targets = {target for event in events for target in _targets(event)}
            subscribers |= {
                target: {*found} for target, found in self.subscriptions.subscribers(targets).items()
            }
        if failed:
            return failed
        in_order = sorted(events, key=lambda event: event.sequence)
        groups = ([event] for event in in_order)
        push = partial(self._push, subscribers)
        process_groups(failed, groups, attrgetter("order_id"), push, self.has_time_left)
        return failed

    def _push(
        self, subscribers: Mapping[SubscriptionTarget, set[str]], group: Sequence[ReceivedOrderEvent]
    ) -> None:
        (event,) = group
        subscribed = {
            connection_id: target for target in _targets(event) for connection_id in subscribers[target]
        }
        for connection_id, target in sorted(subscribed.items(), key=lambda pair: pair[0]):
            if not self.connections.send(connection_id, event.body):
                self.subscriptions.remove(connection_id, target)
                for connection_ids in subscribers.values():
                    connection_ids.discard(connection_id)


def _targets(event: ReceivedOrderEvent) -> tuple[SubscriptionTarget, ...]:
    return (
        SubscriptionTarget.all_orders(),
        SubscriptionTarget.order(event.order_id),
        SubscriptionTarget.customer(event.customer_id),
    )
