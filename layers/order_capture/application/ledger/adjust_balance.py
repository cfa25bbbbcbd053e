"""Adjust a balance of a customer or product: set, change or delete it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from order_capture.application.ledger.get_balance import read_heads
from order_capture.application.ports import Clock, LedgerRepository, WriteRefusedError
from order_capture.application.retry import Retry
from order_capture.domain.errors import IdempotencyConflictError, NotFoundError, TransientError
from order_capture.domain.ledger import (
    UNPRICED,
    ZERO,
    Adjustment,
    Balance,
    BalanceChange,
    LedgerSpec,
    active_or_none,
    adjust,
    delete,
    idempotency_key_for,
)
from order_capture.domain.stripes import Heads, gather, total


@dataclass(frozen=True, slots=True)
class BalanceRequest:
    """The requested change: exactly one of `balance` (set it), `adjust` (add to it) and `delete`.

    A `price` changes the price as well (`UNPRICED`: the product then has none).

    `adjustment_id` is the same for the same Idempotency-Key (`idempotent`) and unique without one;
    `fingerprint` is the same for the same request.
    """

    entity: str
    adjustment_id: str
    fingerprint: str
    idempotent: bool
    balance: Decimal | None = None
    adjust: Decimal | None = None
    delete: bool = False
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The balance after a change, and whether an earlier request made the change."""

    head: Balance
    replayed: bool


@dataclass(frozen=True, slots=True)
class AdjustBalance:
    """Change balances in one ledger, each request once."""

    kind: LedgerSpec
    ledger: LedgerRepository
    clock: Clock
    retry: Retry

    def adjust(self, request: BalanceRequest) -> Adjusted:
        """Make the change once, and return the balance after it, however often it is requested.

        The balance is read, and written only if it has not changed since. So the answer is exact, and can be
        stored with the entry for a repeated request. A change of only the root of a customer or product with
        stripes is not conditional on the stripes: then the answer is the balance that was read, plus the
        change.

        Raises:
            BalanceOutOfRangeError: the balance would fall below zero or rise too high.
            IdempotencyConflictError: the key was used with a different request.
            NotFoundError: there is no balance to change or delete.
            OpenHoldsError: it can't be deleted, because open orders hold a part of it.
            TransientError: too many other requests are changing it.
        """
        earlier = (
            self.ledger.adjustment(idempotency_key_for(request.adjustment_id), request.adjustment_id)
            if request.idempotent
            else None
        )
        for attempt in self.retry:
            if earlier is not None:
                if earlier.fingerprint != request.fingerprint:
                    raise IdempotencyConflictError
                return Adjusted(earlier.after, replayed=True)
            heads, now = read_heads(self.ledger, request.entity), self.clock()
            head = total(request.entity, heads)
            after = self._after(head, request, now)
            amount = after.balance - (head.balance if head else ZERO)
            changes = self._changes(request, heads, head, after)
            after = replace(after, version=after.version - 1 + len(changes))
            adjustment = Adjustment(
                request.entity, request.adjustment_id, amount, request.fingerprint, after, now
            )
            receipts = [adjustment.receipt()] if request.idempotent else []
            try:
                self.ledger.write(changes, [adjustment, *receipts], now)
                return Adjusted(after, replayed=False)
            except WriteRefusedError as refusal:
                match refusal.entries.get(request.adjustment_id):
                    case Adjustment() as earlier:
                        continue
                    case _:
                        attempt.back_off()
        raise TransientError("Too many orders and adjustments are changing this balance.")

    def _changes(
        self, request: BalanceRequest, heads: Heads, head: Balance | None, after: Balance
    ) -> list[BalanceChange]:
        """The changes from `head` to `after`: of the root alone if that suffices, or else of every head."""
        if head is None:
            return [BalanceChange(request.entity, balance=after.balance, expected=0, price=after.price)]
        amount = after.balance - head.balance
        deleted = after.deleted if after.deleted is not head.deleted else None
        price = _new_price(head.price, after.price)
        root = heads[request.entity]
        # An order may be held on any head, depending on its marks: so all heads get the same marks. A balance
        # can be set only while no head changes; adding to it does not depend on the other heads.
        is_relative = request.adjust is not None and root.balance + amount >= 0
        if root.stripes and not (is_relative and deleted is None and price is None):
            return gather(request.entity, heads, amount, request.adjustment_id, deleted=deleted, price=price)
        # The version covers everything that `after` was computed from: a hold increases it as well.
        return [
            BalanceChange(request.entity, balance=amount, expected=root.version, deleted=deleted, price=price)
        ]

    def _after(self, head: Balance | None, request: BalanceRequest, now: str) -> Balance:
        current = active_or_none(head)
        if request.delete:
            if current is None:
                raise NotFoundError(f"{request.entity} is unknown.")
            return delete(self.kind, current, now)
        if current is None and request.balance is None:
            raise NotFoundError(f"{request.entity} is unknown: set its balance first.")
        return adjust(self.kind, head, now, balance=request.balance, by=request.adjust, price=request.price)


def _new_price(before: Decimal | None, after: Decimal | None) -> Decimal | None:
    """The new price (see `BalanceChange`); None if it does not change."""
    if after == before:
        return None
    return UNPRICED if after is None else after
