"""Check orders against a ledger: hold what they ask for, release what the refused ones held.

Both checkers run this, one over the accounts, one over the stock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter

from order_capture.application.batches import each_group
from order_capture.application.messages import CheckOrder, OrderChecked, ReleaseOrder
from order_capture.application.ports import TRIES, Clock, InTime, Ledger, Outbox, Pause, WriteRefusedError
from order_capture.domain.errors import BooksDisagreeError, TemporaryError
from order_capture.domain.ledger import (
    Head,
    Hold,
    LedgerKind,
    Movement,
    Release,
    closed_entry,
    decide_holds,
    first,
    hold_entries,
    merged,
)
from order_capture.domain.order import Decision, OrderTerms, Outcome


def check_orders(
    kind: LedgerKind,
    ledger: Ledger,
    answers: Outbox,
    messages: Sequence[CheckOrder | ReleaseOrder],
    clock: Clock,
    pause: Pause,
    in_time: InTime = lambda: True,
) -> set[str]:
    """Hold or release for every order of a batch, and answer what was held.

    Returns:
        The ids of the orders that must be tried again: their messages go back to the queue.
    """
    checks = {m.terms.order_id: m for m in messages if isinstance(m, CheckOrder)}
    failed: set[str] = set()
    decided: dict[str, Decision] = {}

    def hold(group: Sequence[OrderTerms]) -> None:
        decided.update(_hold(kind, ledger, group, clock, pause))

    def release(group: Sequence[OrderTerms]) -> None:
        for terms in group:
            _release(kind, ledger, terms, clock, pause)

    groups = _groups(kind, [message.terms for message in checks.values()])
    refused = [[message.terms] for message in messages if isinstance(message, ReleaseOrder)]
    each_group(failed, groups, attrgetter("order_id"), hold, in_time)
    each_group(failed, refused, attrgetter("order_id"), release, in_time)
    return failed | answers.send(
        [
            OrderChecked(order_id, kind.check, decision, checks[order_id].correlation_id)
            for order_id, decision in decided.items()
        ]
    )


def _groups(kind: LedgerKind, orders: Iterable[OrderTerms]) -> list[list[OrderTerms]]:
    """Orders that are decided together: those that ask for one customer, or for one product at one price.

    They cost one write of the hot head instead of one each. An order of several products goes alone, so
    that no order waits on the products of another; and one at a wrong price goes without those at the right
    one, whose write would be refused with it.
    """
    groups: dict[tuple[str, Decimal | None], list[OrderTerms]] = {}
    for terms in orders:
        demand = kind.demand(terms)
        entity = first(demand)
        # An order id is never a group's name: ids of customers and products have no "#".
        name = entity if len(demand) == 1 else f"order#{terms.order_id}"
        groups.setdefault((name, kind.unit_prices(terms).get(entity)), []).append(terms)
    return list(groups.values())


def _hold(
    kind: LedgerKind, ledger: Ledger, group: Sequence[OrderTerms], clock: Clock, pause: Pause
) -> dict[str, Decision]:
    """Group commit: one write of the head and an entry per order, or what an earlier try decided.

    Nothing is read first. A refused write says which orders are decided already and how the heads
    stand, and the next try is made with that.
    """
    undecided = {terms.order_id: terms for terms in group}
    unit_prices = {order_id: kind.unit_prices(terms) for order_id, terms in undecided.items()}
    decided: dict[str, Decision] = {}
    seen: dict[str, Head | None] = {}
    for tries in range(1, TRIES + 1):
        now = clock()
        decisions = decide_holds(kind, undecided.values(), seen)
        entries = [
            entry
            for order_id, terms in undecided.items()
            for entry in hold_entries(kind, terms, decisions[order_id], now)
        ]
        movements = merged(
            Movement.hold(entry.entity, entry.amount, unit_prices[entry.order_id].get(entry.entity))
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
                pause(tries)
        else:
            return decided | decisions
    raise TemporaryError(f"{kind.check.lower()} ledger too busy")


def _release(kind: LedgerKind, ledger: Ledger, terms: OrderTerms, clock: Clock, pause: Pause) -> None:
    """Give back what the order holds, once; where it holds nothing yet, see to it that it never will.

    The decision is read first: it never changes once it is there, so what was read stays true.
    """
    demand = kind.demand(terms)
    for tries in range(1, TRIES + 1):
        now = clock()
        hold = ledger.hold(first(demand), terms.order_id)
        if hold is not None and hold.decision.outcome is Outcome.DECLINED:
            return
        try:
            if hold is None:
                ledger.write([], [closed_entry(kind, terms, now)], now)
            else:
                ledger.write(
                    [Movement.release(entity, amount) for entity, amount in demand.items()],
                    [Release(entity, terms.order_id, amount, now) for entity, amount in demand.items()],
                    now,
                )
            return
        except WriteRefusedError as refusal:
            if any(isinstance(entry, Release) for entry in refusal.entries.values()):
                return
            if refusal.heads:
                raise BooksDisagreeError(
                    f"order {terms.order_id} has a hold that its ledger does not have"
                ) from refusal
            if refusal.conflict:
                pause(tries)
    raise TemporaryError(f"{kind.check.lower()} ledger too busy")
