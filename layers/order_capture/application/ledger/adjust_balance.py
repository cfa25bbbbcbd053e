"""Adjust a balance: set what a customer may spend or what is in stock, add to it, take from it, delete it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from order_capture.application.ports import MAX_ATTEMPTS, Backoff, Clock, LedgerRepository, WriteRefusedError
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


@dataclass(frozen=True, slots=True)
class BalanceRequest:
    """What is asked for: exactly one of `balance` (set it), `adjust` (change it by so much) and `delete`.

    With a `price`, that changes as well (`UNPRICED`: the product has none from then on).

    `adjustment_id` is the same for the same Idempotency-Key (`keyed`) and unique without one;
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
    """The head that a change led to, and whether an earlier request had made it."""

    head: Balance
    replayed: bool


def adjust_balance(
    kind: LedgerSpec, ledger: LedgerRepository, change: BalanceRequest, clock: Clock, backoff: Backoff
) -> Adjusted:
    """Make the change once, and answer with what it led to, however often it is asked.

    The head is read, and written only if nobody has changed it since: the answer is then exact, and can
    be kept with the entry for a repeated request.

    Raises:
        BalanceOutOfRangeError: the balance would fall below zero or rise too high.
        KeyReusedError: the key came with another request before.
        NotFoundError: there is nothing to add to, to take from, or to delete.
        StillHeldError: it is to be deleted, and open orders hold something of it.
        TemporaryError: too many others change it at this moment.
    """
    earlier = (
        ledger.adjustment(idempotency_key_for(change.adjustment_id), change.adjustment_id)
        if change.idempotent
        else None
    )
    for tries in range(1, MAX_ATTEMPTS + 1):
        if earlier is not None:
            if earlier.fingerprint != change.fingerprint:
                raise IdempotencyConflictError()
            return Adjusted(earlier.after, replayed=True)
        head, now = ledger.head(change.entity), clock()
        after = _after(kind, head, change, now)
        amount = after.balance - (head.balance if head else ZERO)
        # The version says all that `after` was worked out from: a hold in between counts it up as well.
        movement = BalanceChange(
            change.entity,
            balance=amount,
            expected=head.version if head else 0,
            deleted=after.deleted if head and after.deleted is not head.deleted else None,
            price=_new_price(head, after),
        )
        adjustment = Adjustment(change.entity, change.adjustment_id, amount, change.fingerprint, after, now)
        try:
            ledger.write(
                [movement], [adjustment, *([adjustment.receipt()] if change.idempotent else [])], now
            )
            return Adjusted(after, replayed=False)
        except WriteRefusedError as refusal:
            match refusal.entries.get(change.adjustment_id):
                case Adjustment() as earlier:
                    continue
                case _:
                    backoff(tries)
    raise TransientError("Too many orders and adjustments of it at this moment.")


def _after(kind: LedgerSpec, head: Balance | None, change: BalanceRequest, now: str) -> Balance:
    current = active_or_none(head)
    if change.delete:
        if current is None:
            raise NotFoundError(f"{change.entity} is unknown.")
        return delete(kind, current, now)
    if current is None and change.balance is None:
        raise NotFoundError(f"{change.entity} is unknown: set its balance first.")
    return adjust(kind, head, now, balance=change.balance, by=change.adjust, price=change.price)


def _new_price(head: Balance | None, after: Balance) -> Decimal | None:
    """What the head's price changes to; None if it stays as it was."""
    if after.price == (head.price if head else None):
        return None
    return UNPRICED if after.price is None else after.price
