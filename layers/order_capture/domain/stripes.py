"""Stripes: further heads of a contended customer or product.

A write of a head is refused if it conflicts with another write of that head. So a head takes some eighty
writes a second, and fewer if more writers compete. A contended head is therefore split. Each stripe is a
separate head, and an order's hold on a stripe is released and settled there. The balance of a customer or
product is the sum of its root and its stripes. A missing amount is transferred from the other heads, in the
same transaction as the hold that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal

from order_capture.domain.ledger import ZERO, Balance, BalanceChange, LedgerSpec, aggregate

SEPARATOR = "#"
"""Separates a customer's or product's id from the number of a stripe. Ids do not contain it."""

Heads = Mapping[str, Balance]
"""The root of a customer or product and its stripes, by name; empty if it is unknown."""


def stripe(entity: str, number: int) -> str:
    """The name of a stripe, which is its partition key; stripes are counted from 1."""
    return f"{entity}{SEPARATOR}{number}"


def head_names(entity: str, stripes: int) -> list[str]:
    """The names of all heads of a customer or product with `stripes`; the root's name is the id."""
    return [entity, *(stripe(entity, number) for number in range(1, stripes + 1))]


def is_stripe(head: str) -> bool:
    """Whether it is the name of a stripe, not of a root."""
    return SEPARATOR in head


def entity_of(head: str) -> str:
    """The customer or product of a head."""
    return head.partition(SEPARATOR)[0]


def total(entity: str, heads: Heads) -> Balance | None:
    """The balance of a customer or product: the sum of its heads. None if it is unknown."""
    root = heads.get(entity)
    if root is None:
        return None
    return replace(
        root,
        balance=sum((head.balance for head in heads.values()), ZERO),
        held=sum((head.held for head in heads.values()), ZERO),
        settled=sum((head.settled for head in heads.values()), ZERO),
        version=sum(head.version for head in heads.values()),
        update_time=max(head.update_time for head in heads.values()),
    )


def is_snapshot(before: Heads, after: Heads) -> bool:
    """Whether two successive reads show all balances at one moment.

    The heads are read one by one. If no balance changed between its two reads, all balances were as shown
    from the end of the first read to the beginning of the second.
    """
    return {name: head.balance_version for name, head in before.items()} == {
        name: head.balance_version for name, head in after.items()
    }


def is_undivided(before: Heads, after: Heads) -> bool:
    """Whether there was no transfer between two reads, so that no amount is counted twice or missing."""
    return {name: head.transfers for name, head in before.items()} == {
        name: head.transfers for name, head in after.items()
    }


def split(kind: LedgerSpec, entity: str, root: Balance, stripes: int) -> list[BalanceChange]:
    """Split a root into stripes, each with an equal share of the balance that was read.

    The write is refused if the root already has stripes, less than the amount to share, or another price.
    """
    share = _round_down(kind, root.balance / (stripes + 1))
    name = "SPLIT"  # a root is split only once
    given = BalanceChange.transferred(entity, -share * stripes, name)
    return [
        replace(given, is_hold=True, unit_price=root.price, stripes=stripes),
        *(
            replace(BalanceChange.transferred(each, share, name), expected=0, price=root.price)
            for each in head_names(entity, stripes)[1:]
        ),
    ]


def refill(kind: LedgerSpec, target: str, missing: Decimal, heads: Heads, name: str) -> list[BalanceChange]:
    """Transfer at least `missing` to a head from the fullest of the others, or everything if that is less.

    A head gives half of its balance, so that the next orders find something on both, or more if half is not
    enough. If its whole balance is not enough, the next fullest gives as well.
    """
    others = sorted(
        ((head.balance, each) for each, head in heads.items() if each != target and head.balance > 0),
        reverse=True,
    )
    changes: list[BalanceChange] = []
    still_missing = missing
    for balance, each in others:
        if still_missing <= 0:
            break
        given = min(balance, max(still_missing, _round_down(kind, balance / 2)))
        changes.append(BalanceChange.transferred(each, -given, name))
        still_missing -= given
    gained = -sum((change.balance for change in changes), ZERO)
    return [*changes, BalanceChange.transferred(target, gained, name)] if changes else []


def gather(
    entity: str, heads: Heads, balance: Decimal, name: str, *, deleted: bool | None, price: Decimal | None
) -> list[BalanceChange]:
    """Change the total balance by `balance`, and move all of it to the root.

    The write is refused if a head has changed since it was read. `deleted` and `price` apply to every head
    (see `BalanceChange`).
    """
    moved = sum((head.balance for each, head in heads.items() if each != entity), ZERO)
    root = aggregate([BalanceChange(entity, balance=balance), BalanceChange.transferred(entity, moved, name)])
    stripes = [
        BalanceChange.transferred(each, -head.balance, name) for each, head in heads.items() if each != entity
    ]
    return [
        replace(change, expected=heads[change.head].version, deleted=deleted, price=price)
        for change in (*root, *stripes)
    ]


def _round_down(kind: LedgerSpec, amount: Decimal) -> Decimal:
    return amount.quantize(kind.quantum, ROUND_DOWN)
