"""Check orders against a ledger: hold their amounts, or release them for refused orders.

Both checkers run this: one with the accounts, one with the stock.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter

from order_capture.application.batches import MAX_ITEMS, process_groups
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.messages import CheckOrder, OrderChecked, ReleaseOrder
from order_capture.application.ports import (
    Clock,
    LedgerRepository,
    MessagePublisher,
    Random,
    WriteRefusedError,
)
from order_capture.application.retry import Retry
from order_capture.domain.errors import LedgerInconsistencyError, TransientError
from order_capture.domain.ledger import (
    ZERO,
    Balance,
    BalanceChange,
    Hold,
    LedgerSpec,
    Release,
    aggregate,
    decide_holds,
    hold_entry,
    primary_entity,
    rejected_hold,
)
from order_capture.domain.order import CheckResult, OrderDetails, Outcome
from order_capture.domain.stripes import Heads, entity_of, is_snapshot, refill, split, stripe, total

logger = logging.getLogger(__name__)

CONFLICTS_TO_SPLIT = 2
"""Successive conflicts at a root before it is split. A single one happens by chance now and then."""

MAX_CHECK_AGE = timedelta(days=45)
"""Age of the oldest check request that is still processed. The books of an order are closed 60 days after it
ended, or later (`OrderRetentionDays`), and its entries deleted: a later copy of its check request would hold
it again. A message lives for 14 days, and 14 more each time it is redriven (Amazon SQS developer guide,
"Configure a dead-letter queue redrive"). An order that is still open has a newer request, from the
watchdog."""

MAX_COLLECTS = 4
"""Reads of all heads in one attempt. If no two of them agree, other writers make progress: it is retried."""


@dataclass(frozen=True, slots=True)
class CheckOrders:
    """Hold or release orders in one ledger, and publish the results of the checks."""

    kind: LedgerSpec
    ledger: LedgerRepository
    decided_by_other: Callable[[Collection[str]], Container[str]]
    """Returns which of these orders the other check has already decided."""
    results: MessagePublisher
    clock: Clock
    random: Random
    retry: Retry
    hot_heads: HotHeads
    stripes: int
    """How many stripes a contended head gets; 0: none."""

    def process(self, messages: Sequence[CheckOrder | ReleaseOrder]) -> set[str]:
        """Hold or release for every order of a batch, and publish the results that decide an order.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        checks = {
            m.details.order_id: m for m in messages if isinstance(m, CheckOrder) and not self._is_old(m)
        }
        failed: set[str] = set()
        results: dict[str, CheckResult] = {}

        def hold(group: Sequence[OrderDetails]) -> set[str]:
            found = self._hold(group)
            results.update(found)
            return {details.order_id for details in group} - found.keys()

        def release(group: Sequence[OrderDetails]) -> None:
            for details in group:
                self._release(details)

        groups = self._groups(message.details for message in checks.values())
        groups = self._hold_together(groups, results)
        refused = [[message.details] for message in messages if isinstance(message, ReleaseOrder)]
        process_groups(failed, groups, attrgetter("order_id"), hold, self.retry.has_time_left)
        process_groups(failed, refused, attrgetter("order_id"), release, self.retry.has_time_left)
        return failed | self.results.send(
            [
                OrderChecked.of(
                    order_id,
                    self.kind.check,
                    result,
                    checks[order_id].correlation_id,
                    checks[order_id].items[0].product_id,
                )
                for order_id, result in self._due(results).items()
            ]
        )

    def _is_old(self, message: CheckOrder) -> bool:
        if not message.sent_time:
            return False
        age = datetime.fromisoformat(self.clock()) - datetime.fromisoformat(message.sent_time)
        if age <= MAX_CHECK_AGE:
            return False
        logger.warning(
            "dropped a check request that is too old", extra={"order_id": message.details.order_id}
        )
        return True

    def _due(self, results: Mapping[str, CheckResult]) -> dict[str, CheckResult]:
        """The results that decide their orders: each decline, and each hold if both checks hold the order.

        Each check writes its decision, and only then reads the other's. So the check that writes last finds
        both, and if both write concurrently, both may: at least one of them sends its result. This requires
        reads that see every earlier acknowledged write. Consistent reads do, also of single items in a batch
        (Amazon DynamoDB developer guide, "Transaction isolation levels").
        """
        held = [order_id for order_id, result in results.items() if result.outcome is Outcome.HELD]
        try:
            decided = self.decided_by_other(held) if held else ()
        except Exception as error:
            # An extra result is harmless; a missing one would leave its order to the watchdog.
            logger.warning(
                "the other ledger could not be read, so every result was sent: %s", type(error).__name__
            )
            return dict(results)
        return {
            order_id: result
            for order_id, result in results.items()
            if result.outcome is not Outcome.HELD or order_id in decided
        }

    def _groups(self, orders: Iterable[OrderDetails]) -> list[list[OrderDetails]]:
        """Orders that are decided together: those of one customer, or of one product at one price.

        They cost one write of the hot item instead of one each. An order of several products is alone, so
        that no order waits for the products of another. Orders at a wrong price are separate, since they
        would cause the write of those at the right price to be refused.
        """
        groups: dict[tuple[str, Decimal | None], list[OrderDetails]] = {}
        for details in orders:
            required_amounts = self.kind.required_amounts(details)
            entity = primary_entity(required_amounts)
            # An order id is never a group's name: ids of customers and products have no "#".
            name = entity if len(required_amounts) == 1 else f"order#{details.order_id}"
            groups.setdefault((name, self.kind.unit_prices(details).get(entity)), []).append(details)
        return list(groups.values())

    def _hold_together(
        self, groups: Sequence[list[OrderDetails]], results: dict[str, CheckResult]
    ) -> list[list[OrderDetails]]:
        """Decide all groups that seem to be cold in one write, instead of one write per group.

        A write that is refused because a balance is short shows which orders to decline, so the next one
        decides all. `results` gets the decisions. Returns the remaining groups, to be held one by one: the
        hot ones, or all if an order was already decided, or a head is being written.
        """
        now = self.clock()
        cold: list[list[OrderDetails]] = []
        entities: set[str] = set()
        items = 0
        for group in groups:
            required = {entity for details in group for entity in self.kind.required_amounts(details)}
            size = len(required) + len(group)
            is_hot = any(self.hot_heads.is_hot(entity, now) for entity in required)
            if not is_hot and entities.isdisjoint(required) and items + size <= MAX_ITEMS:
                cold.append(group)
                entities |= required
                items += size
        if len(cold) < 2:
            return list(groups)
        orders = {details.order_id: details for group in cold for details in group}
        known = _KnownBalances(self, list(orders.values()))
        try:
            decided = self._decide_twice(orders, known)
        except Exception as error:
            # An order was already decided, or is at fault: holding the groups one by one shows which.
            logger.debug("not held together: %s", type(error).__name__)
            return list(groups)
        results.update(decided)
        left = [[details for details in group if details.order_id not in decided] for group in groups]
        return [group for group in left if group]

    def _decide_twice(
        self, orders: Mapping[str, OrderDetails], known: _KnownBalances
    ) -> dict[str, CheckResult]:
        """Write the orders' decisions, and retry if the first write showed insufficient balances."""
        try:
            return self._decide(orders, known)
        except WriteRefusedError as refusal:
            if refusal.conflict or refusal.entries:
                raise
            known.learn(refusal)
        return self._decide(orders, known)

    def _decide(self, orders: Mapping[str, OrderDetails], known: _KnownBalances) -> dict[str, CheckResult]:
        """Decide the orders by the known balances, except those that need more balances, and write that.

        Raises:
            WriteRefusedError: nothing was written.
        """
        now = self.clock()
        results = known.sure(decide_holds(self.kind, orders.values(), known.balances))
        entries = [
            hold_entry(self.kind, orders[order_id], result, known.targets, now)
            for order_id, result in results.items()
        ]
        if entries:
            self.ledger.write(self._changes(orders, entries, known), entries, now)
        return results

    def _hold(self, group: Sequence[OrderDetails]) -> dict[str, CheckResult]:
        """Group commit: one write of each head and an entry per order. Returns earlier decisions as they are.

        Nothing is read first. A refused write shows which orders are already decided, and the balances, and
        the next attempt uses both.
        """
        undecided = {details.order_id: details for details in group}
        decided: dict[str, CheckResult] = {}
        known = _KnownBalances(self, group)
        for attempt in self.retry:
            refusal = WriteRefusedError()
            try:
                results = self._decide(undecided, known)
                is_waiting = not results
            except WriteRefusedError as error:
                refusal, is_waiting = error, error.conflict
                results = {
                    order_id: entry.decision
                    for order_id, entry in refusal.entries.items()
                    if isinstance(entry, Hold)
                }
            decided |= results
            undecided = {each: details for each, details in undecided.items() if each not in decided}
            if not undecided:
                return decided
            if is_waiting:
                attempt.back_off()
            known.learn(refusal)
        if not decided:
            raise TransientError(self._busy)
        logger.warning("returned to the queue: %s", self._busy, extra={"order_ids": sorted(undecided)})
        return decided

    @property
    def _busy(self) -> str:
        return f"too many other writes of the {self.kind.check.lower()} ledger"

    def _changes(
        self, orders: Mapping[str, OrderDetails], entries: Sequence[Hold], known: _KnownBalances
    ) -> list[BalanceChange]:
        """The changes of the heads, including transfers to a head that is short from the others."""
        held = [entry for entry in entries if entry.is_held]
        prices = {order_id: self.kind.unit_prices(details) for order_id, details in orders.items()}
        changes = aggregate(
            BalanceChange.hold(head, amount, prices[entry.order_id].get(entity_of(head)))
            for entry in held
            for head, amount in entry.amounts.items()
        )
        transfers = [
            transfer
            for change in changes
            for heads in [known.heads.get(entity_of(change.head), {})]
            if change.head in heads and heads[change.head].balance < change.held
            for transfer in refill(
                self.kind, change.head, change.held - heads[change.head].balance, heads, held[0].order_id
            )
        ]
        return aggregate([*changes, *transfers])

    def _release(self, details: OrderDetails) -> None:
        """Release an order's hold, once. If it has no hold yet, make sure that it never will.

        The hold is read first. This is safe, since a hold never changes once it exists.
        """
        for attempt in self.retry:
            now = self.clock()
            hold = self.ledger.holds([details.order_id]).get(details.order_id)
            if hold is not None and not hold.is_held:
                return
            try:
                if hold is None:
                    self.ledger.write([], [rejected_hold(self.kind, details, now)], now)
                else:
                    changes = [BalanceChange.release(head, amount) for head, amount in hold.amounts.items()]
                    self.ledger.write(changes, [Release(details.order_id, hold.amounts, now)], now)
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
        raise TransientError(self._busy)


class _KnownBalances:
    """The known balances of the customers and products that a group of orders requires."""

    def __init__(self, checks: CheckOrders, orders: Sequence[OrderDetails]) -> None:
        self._checks = checks
        self._ledger = checks.ledger
        self._conflicts: Counter[str] = Counter()
        self._required: dict[str, Decimal] = {}
        for details in orders:
            for entity, amount in checks.kind.required_amounts(details).items():
                self._required[entity] = self._required.get(entity, ZERO) + amount
        now = checks.clock()
        found = {entity: checks.hot_heads.find(entity, now) for entity in self._required}
        self.targets = {entity: head for entity, (head, _) in found.items()}
        """By customer or product: the head on which the orders are held."""
        self._stripes = {entity: stripes for entity, (_, stripes) in found.items()}
        self.balances: dict[str, Balance | None] = {}
        """The known balances, by customer or product."""
        self.heads: dict[str, Heads] = {}
        """By customer or product: all heads as last read, if one of them was short."""
        self._unsure: set[str] = set()
        """Customers or products whose heads changed while they were read: the sum may never have existed."""

    def sure(self, results: Mapping[str, CheckResult]) -> dict[str, CheckResult]:
        """The results without declines that depend on a balance that is not known for certain."""
        return {
            order_id: result
            for order_id, result in results.items()
            if result.code is not self._checks.kind.insufficient or result.entity not in self._unsure
        }

    def learn(self, refusal: WriteRefusedError) -> None:
        """Learn the balances that a refused write shows, and read the others."""
        contended = {entity_of(head) for head in refusal.contended}
        to_collect = {*self._unsure, *(contended & self.heads.keys())}
        for head, balance in refusal.heads.items():
            entity = entity_of(head)
            if head == entity and (balance is None or not balance.stripes):
                self.balances[entity] = balance  # it has no other head
            else:
                self._stripes[entity] = self._stripes[entity] or (balance.stripes if balance else 0)
                to_collect.add(entity)
                if balance is None:  # the stripe is missing: orders use the root, the audit reports it
                    self.targets[entity] = entity
        for entity in sorted(contended):
            self._conflicts[entity] += 1
            self._avoid(entity)
        for entity in sorted(to_collect):
            self._collect(entity)

    def _collect(self, entity: str) -> None:
        """Read all heads until they suffice for all orders, or two reads agree, which proves their sum."""
        before: Heads | None = None
        for _ in range(MAX_COLLECTS):
            heads = self._ledger.heads(entity, self._stripes[entity])
            whole = total(entity, heads)
            self.heads[entity], self.balances[entity] = heads, whole
            suffices = whole is not None and whole.balance >= self._required[entity]
            if suffices or (before is not None and is_snapshot(before, heads)):
                self._unsure.discard(entity)
                return
            before = heads
        self._unsure.add(entity)

    def _avoid(self, entity: str) -> None:
        """After a conflict, use another head, if there is one; after repeated conflicts, split the root."""
        checks, stripes = self._checks, self._stripes[entity]
        if not checks.stripes:
            return
        if not stripes:
            root = self._ledger.head(entity)
            if root is None:
                return
            stripes = root.stripes
            if not stripes and self._conflicts[entity] >= CONFLICTS_TO_SPLIT:
                stripes = self._split(entity, root)
            if not stripes:
                return
            self._stripes[entity] = stripes
        number = 1 + int(checks.random() * stripes)
        self.targets[entity] = stripe(entity, number)
        checks.hot_heads.remember(entity, self.targets[entity], stripes, checks.clock())

    def _split(self, entity: str, root: Balance) -> int:
        """Split a root into stripes, unless there is too little to share. Returns the number of stripes."""
        changes = split(self._checks.kind, entity, root, self._checks.stripes)
        if not changes[0].balance:
            return 0
        try:
            self._ledger.write(changes, [], self._checks.clock())
        except WriteRefusedError:
            root_now = self._ledger.head(entity)
            return root_now.stripes if root_now else 0
        return self._checks.stripes
