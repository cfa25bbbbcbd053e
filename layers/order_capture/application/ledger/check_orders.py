"""Check orders against a ledger: hold what they ask for, release what the refused ones held.

Both checkers run this, one over the accounts, one over the stock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter

from order_capture.application.batches import process_groups
from order_capture.application.messages import CheckOrder, OrderChecked, ReleaseOrder
from order_capture.application.ports import (
    MAX_ATTEMPTS,
    Backoff,
    Clock,
    HasTimeLeft,
    LedgerRepository,
    MessagePublisher,
    WriteRefusedError,
)
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


def check_orders(
    kind: LedgerSpec,
    ledger: LedgerRepository,
    answers: MessagePublisher,
    messages: Sequence[CheckOrder | ReleaseOrder],
    clock: Clock,
    backoff: Backoff,
    has_time_left: HasTimeLeft = lambda: True,
) -> set[str]:
    """Hold or release for every order of a batch, and answer what was held.

    Returns:
        The ids of the orders that must be tried again: their messages go back to the queue.
    """
    checks = {m.details.order_id: m for m in messages if isinstance(m, CheckOrder)}
    failed: set[str] = set()
    decided: dict[str, CheckResult] = {}

    def hold(group: Sequence[OrderDetails]) -> None:
        decided.update(_hold(kind, ledger, group, clock, backoff))

    def release(group: Sequence[OrderDetails]) -> None:
        for details in group:
            _release(kind, ledger, details, clock, backoff)

    groups = _groups(kind, [message.details for message in checks.values()])
    refused = [[message.details] for message in messages if isinstance(message, ReleaseOrder)]
    process_groups(failed, groups, attrgetter("order_id"), hold, has_time_left)
    process_groups(failed, refused, attrgetter("order_id"), release, has_time_left)
    return failed | answers.send(
        [
            OrderChecked(order_id, kind.check, decision, checks[order_id].correlation_id)
            for order_id, decision in decided.items()
        ]
    )


def _groups(kind: LedgerSpec, orders: Iterable[OrderDetails]) -> list[list[OrderDetails]]:
    """Orders that are decided together: those that ask for one customer, or for one product at one price.

    They cost one write of the hot head instead of one each. An order of several products goes alone, so
    that no order waits on the products of another; and one at a wrong price goes without those at the right
    one, whose write would be refused with it.
    """
    groups: dict[tuple[str, Decimal | None], list[OrderDetails]] = {}
    for details in orders:
        required_amounts = kind.required_amounts(details)
        entity = primary_entity(required_amounts)
        # An order id is never a group's name: ids of customers and products have no "#".
        name = entity if len(required_amounts) == 1 else f"order#{details.order_id}"
        groups.setdefault((name, kind.unit_prices(details).get(entity)), []).append(details)
    return list(groups.values())


def _hold(
    kind: LedgerSpec, ledger: LedgerRepository, group: Sequence[OrderDetails], clock: Clock, backoff: Backoff
) -> dict[str, CheckResult]:
    """Group commit: one write of the head and an entry per order, or what an earlier try decided.

    Nothing is read first. A refused write says which orders are decided already and how the heads
    stand, and the next try is made with that.
    """
    undecided = {details.order_id: details for details in group}
    unit_prices = {order_id: kind.unit_prices(details) for order_id, details in undecided.items()}
    decided: dict[str, CheckResult] = {}
    seen: dict[str, Balance | None] = {}
    for tries in range(1, MAX_ATTEMPTS + 1):
        now = clock()
        decisions = decide_holds(kind, undecided.values(), seen)
        entries = [
            entry
            for order_id, details in undecided.items()
            for entry in hold_entries(kind, details, decisions[order_id], now)
        ]
        movements = aggregate(
            BalanceChange.hold(entry.entity, entry.amount, unit_prices[entry.order_id].get(entry.entity))
            for entry in entries
            if entry.decision.outcome is Outcome.HELD
        )
        try:
            ledger.write(movements, entries, now)
        except WriteRefusedError as refusal:
            seen.update(refusal.heads)
            for order_id, entry in refusal.entries.items():
                if isinstance(entry, Hold):
                    decided[order_id] = entry.decision
                    del undecided[order_id]
            if not undecided:
                return decided
            if refusal.conflict:
                backoff(tries)
        else:
            return decided | decisions
    raise TransientError(f"{kind.check.lower()} ledger too busy")


def _release(
    kind: LedgerSpec, ledger: LedgerRepository, details: OrderDetails, clock: Clock, backoff: Backoff
) -> None:
    """Give back what the order holds, once; where it holds nothing yet, see to it that it never will.

    The decision is read first: it never changes once it is there, so what was read stays true.
    """
    required_amounts = kind.required_amounts(details)
    for tries in range(1, MAX_ATTEMPTS + 1):
        now = clock()
        hold = ledger.hold(primary_entity(required_amounts), details.order_id)
        if hold is not None and hold.decision.outcome is Outcome.DECLINED:
            return
        try:
            if hold is None:
                ledger.write([], [rejected_hold(kind, details, now)], now)
            else:
                ledger.write(
                    [BalanceChange.release(entity, amount) for entity, amount in required_amounts.items()],
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
                backoff(tries)
    raise TransientError(f"{kind.check.lower()} ledger too busy")
