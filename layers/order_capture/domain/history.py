"""The history of a customer's account or of a product's stock, and its balance at any time.

Each write of a head (a root or a stripe) is a *commit*: the entries of the write, and the resulting head. The
head's version gives the order of commits. Their times may not follow it: each is taken before its write, from
the clock of the writer, so that of two concurrent writes the later one may have the earlier time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from order_capture.domain.ledger import ZERO, Balance, BalanceChange, Hold


class ChangeType(StrEnum):
    """How a change affects the balances."""

    ADJUST = "ADJUST"
    HOLD = "HOLD"
    RELEASE = "RELEASE"
    SETTLE = "SETTLE"
    TRANSFER = "TRANSFER"
    """From or to another head of the same customer or product, whose total does not change."""


_TYPES = {str(each) for each in ChangeType}


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The part of a commit from one entry, or from one order in a settlement.

    `id` is the order's or the adjustment's; None if an older release wrote the commit, without its entries.
    """

    type: ChangeType
    amount: Decimal
    id: str | None = None

    def balance_change(self, entity: str) -> BalanceChange:
        """The change of the head by this entry."""
        match self.type:
            case ChangeType.ADJUST:
                return BalanceChange(entity, balance=self.amount)
            case ChangeType.HOLD:
                return BalanceChange.hold(entity, self.amount)
            case ChangeType.RELEASE:
                return BalanceChange.release(entity, self.amount)
            case ChangeType.SETTLE:
                return BalanceChange.settle(entity, self.amount)
            case ChangeType.TRANSFER:
                return BalanceChange(entity, balance=self.amount)

    @property
    def key(self) -> str:
        """The key of its entry; for an unknown entry, only the type."""
        return f"{self.type}#{self.id}" if self.id else str(self.type)


@dataclass(frozen=True, slots=True)
class Commit:
    """One write of the head `entity`.

    From `previous_time`, when the previous head was written ("" if there was none), until the commit's own
    time, the head was `before`, which may be a tombstone.
    """

    entity: str
    changes: tuple[LedgerEntry, ...]
    after: Balance
    previous_time: str
    was_deleted: bool = False
    price_before: Decimal | None = None
    stripes_before: int = 0

    @property
    def time(self) -> str:
        """The time of the write."""
        return self.after.update_time

    @property
    def key(self) -> str:
        """A deterministic key of the commit. No two commits share an entry."""
        named = sorted(change.key for change in self.changes if change.id)
        return named[0] if named else f"#{self.after.version:012d}"

    @property
    def before(self) -> Balance | None:
        """The head before the commit: the one after it, with the changes undone."""
        if not self.previous_time:
            return None
        balance, held, settled = _sum(self.entity, self.changes)
        return Balance(
            self.after.balance - balance,
            self.after.held - held,
            self.after.settled - settled,
            self.after.version - 1,
            self.previous_time,
            self.was_deleted,
            self.price_before,
            self.stripes_before,
        )


HistoryRecord = Commit | Hold
"""A record of a history: a commit, or a declined hold, which changed no head."""


def commit_of(entity: str, before: Balance | None, after: Balance, entries: Mapping[str, Decimal]) -> Commit:
    """The commit between two successive heads. `entries` are those stored with the second one.

    They are used if they add up to the difference. An older release does not write them, and leaves those of
    an earlier commit in place; then the changes are inferred from the figures.
    """
    old = before or Balance(ZERO)
    moved = (after.balance - old.balance, after.held - old.held, after.settled - old.settled)
    named = tuple(
        LedgerEntry(ChangeType(kind), amount, entry_id)
        for key, amount in sorted(entries.items())
        for kind, _, entry_id in (key.partition("#"),)
        if kind in _TYPES
    )
    if _sum(entity, named) != moved:
        named = _infer_changes(*moved)
    since = before.update_time if before else ""
    after = replace(after, balance_version=0, transfers=0)  # not needed in the history
    return Commit(entity, named, after, since, old.deleted, old.price, old.stripes)


def as_of(commits: Iterable[Commit], at: str) -> Commit | None:
    """The commit that covers the time, if it is among these: until this commit, the head was as at that time.

    If times overlap, several may cover it. The first one is right: no commit was written before its own time,
    so none of their results can have been read until then.
    """
    covering = (commit for commit in commits if commit.previous_time <= at < commit.time)
    return min(covering, key=lambda commit: commit.after.version, default=None)


def fold(entity: str, changes: Iterable[LedgerEntry]) -> Balance:
    """The balances that result from the changes, in any order."""
    return Balance(*_sum(entity, changes))


def _sum(entity: str, changes: Iterable[LedgerEntry]) -> tuple[Decimal, Decimal, Decimal]:
    balance_changes = [change.balance_change(entity) for change in changes]
    return (
        sum((each.balance for each in balance_changes), ZERO),
        sum((each.held for each in balance_changes), ZERO),
        sum((each.settled for each in balance_changes), ZERO),
    )


def _infer_changes(balance: Decimal, held: Decimal, settled: Decimal) -> tuple[LedgerEntry, ...]:
    """The smallest set of changes that explains the difference of the balances."""
    taken = held + settled
    adjusted = balance + taken
    found = []
    if adjusted:
        found.append(LedgerEntry(ChangeType.ADJUST, adjusted))
    if taken:
        found.append(LedgerEntry(ChangeType.HOLD if taken > 0 else ChangeType.RELEASE, abs(taken)))
    if settled:
        found.append(LedgerEntry(ChangeType.SETTLE, settled))
    return tuple(found)
