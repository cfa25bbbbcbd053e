"""Check orders against a ledger: hold what they ask for, release what the refused ones held.

Both checkers run this, one on the accounts, one on the stock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter

from order_capture.application.batches import process_groups
from order_capture.application.messages import CheckOrder, OrderChecked, ReleaseOrder
from order_capture.application.ports import Clock, LedgerRepository, MessagePublisher, WriteRefusedError
from order_capture.application.retry import Retry
from order_capture.domain.errors import LedgerInconsistencyError, TransientError
from order_capture.domain.ledger import (
    Balance,
    BalanceChange,
    Hold,
    LedgerSpec,
    Release,
    aggregate,
    decide_holds,
    hold_entries,
    primary_entity,
    rejected_hold,
)
from order_capture.domain.order import CheckResult, OrderDetails, Outcome


@dataclass(frozen=True, slots=True)
class CheckOrders:
    """Hold or release orders in one ledger, and publish the results of the checks."""

    kind: LedgerSpec
    ledger: LedgerRepository
    results: MessagePublisher
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[CheckOrder | ReleaseOrder]) -> set[str]:
        """Hold or release for every order of a batch, and publish what was held.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        checks = {m.details.order_id: m for m in messages if isinstance(m, CheckOrder)}
        failed: set[str] = set()
        results: dict[str, CheckResult] = {}

        def hold(group: Sequence[OrderDetails]) -> None:
            results.update(self._hold(group))

        def release(group: Sequence[OrderDetails]) -> None:
            for details in group:
                self._release(details)

        groups = self._groups(message.details for message in checks.values())
        refused = [[message.details] for message in messages if isinstance(message, ReleaseOrder)]
        process_groups(failed, groups, attrgetter("order_id"), hold, self.retry.has_time_left)
        process_groups(failed, refused, attrgetter("order_id"), release, self.retry.has_time_left)
        return failed | self.results.send(
            [
                OrderChecked.of(order_id, self.kind.check, result, checks[order_id].correlation_id)
                for order_id, result in results.items()
            ]
        )

    def _groups(self, orders: Iterable[OrderDetails]) -> list[list[OrderDetails]]:
        """Orders that are decided together: those that ask for one customer, or for one product at one price.

        They cost one write of the hot item instead of one each. An order of several products is alone, so
        that no order waits for the products of another; and one at a wrong price is apart from those at the
        right one, whose write would be refused with it.
        """
        groups: dict[tuple[str, Decimal | None], list[OrderDetails]] = {}
        for details in orders:
            required_amounts = self.kind.required_amounts(details)
            entity = primary_entity(required_amounts)
            # An order id is never a group's name: ids of customers and products have no "#".
            name = entity if len(required_amounts) == 1 else f"order#{details.order_id}"
            groups.setdefault((name, self.kind.unit_prices(details).get(entity)), []).append(details)
        return list(groups.values())

    def _hold(self, group: Sequence[OrderDetails]) -> dict[str, CheckResult]:
        """Group commit: one write of the balance and an entry per order, or what was decided before.

        Nothing is read first. A refused write shows which orders are decided already and what the balances
        are, and the next attempt is made with that.
        """
        undecided = {details.order_id: details for details in group}
        unit_prices = {order_id: self.kind.unit_prices(details) for order_id, details in undecided.items()}
        decided: dict[str, CheckResult] = {}
        known_balances: dict[str, Balance | None] = {}
        for attempt in self.retry:
            now = self.clock()
            results = decide_holds(self.kind, undecided.values(), known_balances)
            entries = [
                entry
                for order_id, details in undecided.items()
                for entry in hold_entries(self.kind, details, results[order_id], now)
            ]
            changes = aggregate(
                BalanceChange.hold(entry.entity, entry.amount, unit_prices[entry.order_id].get(entry.entity))
                for entry in entries
                if entry.decision.outcome is Outcome.HELD
            )
            try:
                self.ledger.write(changes, entries, now)
                return decided | results
            except WriteRefusedError as refusal:
                known_balances.update(refusal.heads)
                for order_id, entry in refusal.entries.items():
                    if isinstance(entry, Hold):
                        decided[order_id] = entry.decision
                        del undecided[order_id]
                if not undecided:
                    return decided
                if refusal.conflict:
                    attempt.back_off()
        raise TransientError(f"too many other writes of the {self.kind.check.lower()} ledger")

    def _release(self, details: OrderDetails) -> None:
        """Release what the order holds, once; where it holds nothing yet, make sure that it never will.

        The hold is read first: it never changes once it exists, so what was read stays true.
        """
        required_amounts = self.kind.required_amounts(details)
        for attempt in self.retry:
            now = self.clock()
            hold = self.ledger.hold(primary_entity(required_amounts), details.order_id)
            if hold is not None and hold.decision.outcome is Outcome.DECLINED:
                return
            try:
                if hold is None:
                    self.ledger.write([], [rejected_hold(self.kind, details, now)], now)
                else:
                    self.ledger.write(
                        [
                            BalanceChange.release(entity, amount)
                            for entity, amount in required_amounts.items()
                        ],
                        [
                            Release(entity, details.order_id, amount, now)
                            for entity, amount in required_amounts.items()
                        ],
                        now,
                    )
                return
            except WriteRefusedError as refusal:
                if any(isinstance(entry, Release) for entry in refusal.entries.values()):
                    return
                if refusal.heads:
                    raise LedgerInconsistencyError(
                        f"order {details.order_id} has a hold that its ledger does not have"
                    ) from refusal
                if refusal.conflict:
                    attempt.back_off()
        raise TransientError(f"too many other writes of the {self.kind.check.lower()} ledger")
