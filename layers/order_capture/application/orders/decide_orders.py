"""Decide orders: record the checks' results, and send what follows from the status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.batches import process_groups
from order_capture.application.messages import Message, OrderChecked, ReleaseOrder, ShipOrder
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Clock, MessagePublisher, OrderRepository
from order_capture.application.retry import Retry
from order_capture.domain.order import NextAction, Order


@dataclass(frozen=True, slots=True)
class DecideOrders:
    """Confirm or reject orders, and publish their shipping or their release."""

    orders: OrderRepository
    shipping: MessagePublisher
    releases: MessagePublisher
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[OrderChecked]) -> set[str]:
        """Record every result of a batch; two results of one order are one write.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        by_order: dict[str, list[OrderChecked]] = {}
        for message in messages:
            by_order.setdefault(message.order_id, []).append(message)

        failed: set[str] = set()
        stored = self.orders.get_many(by_order.keys())
        to_ship: list[Message] = []
        to_release: list[Message] = []

        def decide(group: Sequence[str]) -> None:
            (order_id,) = group
            # An order is written before its checks are asked for: one that is missing is a restored table.
            order = update_with_retry(
                self.orders,
                self.retry,
                order_id,
                stored.get(order_id),
                lambda order: self._record_checks(order, by_order[order_id]),
            )
            match order.next_action():
                case NextAction.SHIP:
                    to_ship.append(ShipOrder.of(order.details, order.correlation_id))
                case NextAction.RELEASE:
                    to_release.append(ReleaseOrder.of(order.details, order.correlation_id))
                case None:
                    pass

        process_groups(failed, ([order_id] for order_id in by_order), str, decide, self.retry.has_time_left)
        return failed | self.shipping.send(to_ship) | self.releases.send(to_release)

    def _record_checks(self, order: Order, results: Sequence[OrderChecked]) -> Order:
        for result in results:
            order = order.record_check(result.check, result.decision, now=self.clock())
        return order
