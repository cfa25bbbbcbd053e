"""Decide orders: record the checks' results, and send the next message of the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from order_capture.application.batches import process_groups
from order_capture.application.messages import Message, OrderChecked, ReleaseOrder, ShipOrder
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Clock, LedgerRepository, MessagePublisher, OrderRepository
from order_capture.application.retry import Retry
from order_capture.domain.order import CheckType, NextAction, Order, OrderStatus, Outcome


@dataclass(frozen=True, slots=True)
class DecideOrders:
    """Confirm or reject orders, and publish their shipping or their release."""

    orders: OrderRepository
    ledgers: Mapping[CheckType, LedgerRepository]
    shipping: MessagePublisher
    releases: MessagePublisher
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[OrderChecked]) -> set[str]:
        """Record every result of a batch; two results of one order are one write.

        What one check holds is not written to the order while the other has decided nothing: its ledger has
        it, and is read for it when the other one answers. Whichever decides last, both decisions are in their
        ledgers before its answer is sent, so the order is never left with one.

        What follows is sent from the status, whether this batch has changed it or an earlier receipt of the
        same answer. Only the other check's answer, which there is where both decide at once, does not send a
        confirmed order to shipping a second time: to find that it has shipped costs as much as to ship it.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        by_order: dict[str, list[OrderChecked]] = {}
        for message in messages:
            by_order.setdefault(message.order_id, []).append(message)

        failed: set[str] = set()
        stored = self.orders.get_many(by_order.keys())
        answered = {order_id: {result.check for result in results} for order_id, results in by_order.items()}
        for result in self._missing_results(stored, by_order):
            by_order[result.order_id].append(result)
        to_ship: list[Message] = []
        to_release: list[Message] = []

        def decide(group: Sequence[str]) -> None:
            (order_id,) = group
            is_changed = False

            def record(order: Order) -> Order:
                nonlocal is_changed
                changed = self._record_checks(order, by_order[order_id])
                is_changed = changed is not order
                return changed

            # An order is written before its checks are asked for: one that is missing is a restored table.
            order = update_with_retry(
                self.orders,
                self.retry,
                order_id,
                stored.get(order_id),
                record,
            )
            match order.next_action():
                case NextAction.SHIP if is_changed or order.decided_by in answered[order_id]:
                    to_ship.append(ShipOrder.of(order.details, order.correlation_id))
                case NextAction.RELEASE:
                    to_release.append(ReleaseOrder.of(order.details, order.correlation_id))
                case _:
                    pass

        process_groups(failed, ([order_id] for order_id in by_order), str, decide, self.retry.has_time_left)
        return failed | self.shipping.send(to_ship) | self.releases.send(to_release)

    def _missing_results(
        self, stored: Mapping[str, Order], by_order: Mapping[str, Sequence[OrderChecked]]
    ) -> list[OrderChecked]:
        """The results of the other checks, as far as their ledgers have any."""
        found: list[OrderChecked] = []
        for check, ledger in self.ledgers.items():
            missing = [
                order_id
                for order_id, order in stored.items()
                if check not in {*order.checks, *(result.check for result in by_order[order_id])}
            ]
            if missing:
                found += [
                    OrderChecked.of(order_id, check, hold.decision, stored[order_id].correlation_id)
                    for order_id, hold in ledger.holds(missing).items()
                ]
        return found

    def _record_checks(self, order: Order, results: Sequence[OrderChecked]) -> Order:
        decided = order
        # A decline last: the order is over with it, and its event has what the other check held.
        for result in sorted(results, key=lambda result: result.outcome is Outcome.DECLINED):
            decided = decided.record_check(result.check, result.decision, now=self.clock())
        # What one check holds decides nothing: it is read again from its ledger when the other one answers.
        return order if decided.status is OrderStatus.PENDING else decided
