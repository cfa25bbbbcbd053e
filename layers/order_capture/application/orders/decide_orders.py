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
    """Confirm or reject orders, and send them to shipping or to their release."""

    orders: OrderRepository
    ledgers: Mapping[CheckType, LedgerRepository]
    shipping: MessagePublisher
    releases: MessagePublisher
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[OrderChecked]) -> set[str]:
        """Record every result of a batch; two results of one order are one write.

        A check's hold is not written to the order until the other check has decided. It is in its ledger, and
        is read from there when the other check answers. Before the last answer is sent, both decisions are in
        their ledgers, so the order never ends up with one of them.

        The next message depends only on the status, whether this batch changed it or an earlier receipt of
        the same answer. If both checks decide concurrently, both answer; the second answer does not send a
        confirmed order to shipping again, since detecting that it has shipped costs as much as shipping it.

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

            # An order is written before its checks are requested: if it is missing, the table was restored.
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
        """The results of the other checks that are in their ledgers."""
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
        # A decline last: it ends the order, and its event contains the other check's hold.
        for result in sorted(results, key=lambda result: result.outcome is Outcome.DECLINED):
            decided = decided.record_check(result.check, result.decision, now=self.clock())
        # One check's hold decides nothing: it is read from its ledger again when the other check answers.
        return order if decided.status is OrderStatus.PENDING else decided
