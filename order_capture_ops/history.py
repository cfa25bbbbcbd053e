"""Compare the history with the ledgers, and write the records that are missing.

Records are missing if the stack had orders before it had a history, or if history_projector failed for good.
Adjustments, holds and releases are in the ledgers, with their times; settlements are in the orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

import botocore.exceptions

from order_capture.adapters import system
from order_capture.domain.history import ChangeType, Commit, HistoryRecord, LedgerEntry, fold
from order_capture.domain.ledger import Adjustment, Balance, Hold
from order_capture.domain.order import OrderStatus, Outcome
from order_capture.domain.times import after
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import BALANCE_ENTRY, IDEMPOTENCY_PREFIX, UNREADABLE, LedgerTable, Tables

# Newer changes are left to the stream, which may be about to write them and is more precise: here, two writes
# within one millisecond count as one. No write takes this long, so everything older is complete.
MIN_AGE_SECONDS = 60


@dataclass
class RebuiltHistory:
    """How many `records` were missing. For those in `left`, with the reason, none were written."""

    accounts: int = 0
    products: int = 0
    records: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MissingRecord:
    """A missing record. `replaces` is a record of the same write that does not name its entries, if any."""

    record: HistoryRecord
    replaces: Commit | None = None


class IncompleteLedgerError(Exception):
    """The changes of a customer or product can't be determined."""


class UnreadableHistoryError(IncompleteLedgerError):
    """A history record is malformed."""

    def __init__(self) -> None:
        super().__init__("a record of its history can't be read")


@dataclass(frozen=True)
class _Applied:
    """An entry that changed the balance, or the settlement of an order."""

    time: str
    change: LedgerEntry
    after: Balance | None = None  # the resulting balance, if the entry has it

    @property
    def version(self) -> int:
        """The version of the resulting balance; 0 if it is not known."""
        return self.after.version if self.after else 0


def rebuild(
    tables: Tables, *, dry_run: bool = False, on_progress: ProgressCallback = lambda *_: None
) -> RebuiltHistory:
    """Write every missing record. Existing records are kept, so it may be run at any time."""
    report = RebuiltHistory()
    for table in tables.ledgers:
        for entity in _entities(table, on_progress):
            try:
                missing = missing_records(tables, table, entity)
            except IncompleteLedgerError as error:
                report.left.append(f"{table.label(entity)}: {error}")
                continue
            if not dry_run:
                missing = [each for each in missing if _put(tables, table, each)]
            report.records += len(missing)
            if table.noun == "account":
                report.accounts += 1
            else:
                report.products += 1
            on_progress("records", len(missing))
    return report


def missing_records(tables: Tables, table: LedgerTable, entity: str) -> list[MissingRecord]:
    """The records that a customer's or a product's history lacks, except those of the last minute.

    Raises:
        IncompleteLedgerError: an entry, or its order, can't be read.
    """
    until = after(system.clock(), -MIN_AGE_SECONDS)
    applied, declined = _ledger(tables, table, entity)
    records = history_records(tables, table, entity)
    commits: dict[str, list[Commit]] = {}
    for record in records:
        if isinstance(record, Commit):
            commits.setdefault(record.time, []).append(record)
    existing = {(record.time, record.key) for record in records}
    named = {change.key for group in commits.values() for commit in group for change in commit.changes}

    missing = [
        MissingRecord(hold)
        for hold in declined
        if hold.time <= until and (hold.time, hold.key) not in existing
    ]
    balance, since, version, deleted, price = fold(entity, ()), "", 0, False, None
    for time, same_time in groupby(sorted(applied, key=lambda each: each.time), key=lambda each: each.time):
        group, found = list(same_time), commits.get(time, [])
        balance = _sum_of(balance, fold(entity, (each.change for each in group)))
        version = max(
            version + 1, *(each.version for each in group), *(commit.after.version for commit in found)
        )
        was_deleted, price_before = deleted, price
        if balances := [each.after for each in group if each.after]:
            last = max(balances, key=lambda balance: balance.version)
            deleted, price = last.deleted, last.price
        unnamed = tuple(each.change for each in group if each.change.key not in named)
        if unnamed and time <= until:
            replaces = next((commit for commit in found if _accounts_for(unnamed, commit)), None)
            reached = replace(balance, version=version, update_time=time, deleted=deleted, price=price)
            commit = Commit(entity, unnamed, reached, since, was_deleted, price_before)
            if replaces:
                commit = replace(replaces, changes=unnamed)
            missing.append(MissingRecord(commit, replaces))
        since = time
    return missing


def find_gap(tables: Tables, table: LedgerTable, entity: str) -> tuple[Commit, Balance] | None:
    """The first record whose balance does not follow from the record before it, and the expected balance.

    Raises:
        UnreadableHistoryError: a record can't be read.
    """
    commits = [record for record in history_records(tables, table, entity) if isinstance(record, Commit)]
    before = fold(entity, ())
    for commit in sorted(commits, key=lambda commit: commit.after.version):
        expected = _sum_of(before, fold(entity, commit.changes))
        if _amounts(expected) != _amounts(commit.after):
            return commit, expected
        before = commit.after
    return None


def history_records(tables: Tables, table: LedgerTable, entity: str) -> list[HistoryRecord]:
    """All records of one customer or product, oldest first.

    Raises:
        UnreadableHistoryError: one can't be read.
    """
    try:
        return list(tables.history.records(table, entity))
    except UNREADABLE as error:
        raise UnreadableHistoryError from error


def _entities(table: LedgerTable, on_progress: ProgressCallback) -> Iterator[str]:
    """Every customer or product, once each: a scan returns the items of one partition together."""
    last = ""
    for page in table.pages():
        for entity in map(table.entity, page):
            if entity != last and not entity.startswith(IDEMPOTENCY_PREFIX):
                yield entity
            last = entity
        on_progress(f"{table.noun} entries", len(page))


def _ledger(tables: Tables, table: LedgerTable, entity: str) -> tuple[list[_Applied], list[Hold]]:
    """The applied changes and the declined holds, in any order."""
    applied: list[_Applied] = []
    declined: list[Hold] = []
    for page in table.partition(entity):
        held: dict[str, Hold] = {}
        for item in page:
            if item["entry"]["S"] == BALANCE_ENTRY:
                continue
            try:
                entry = table.read_entry(item)
            except UNREADABLE as error:
                raise IncompleteLedgerError(f"its entry {item['entry']['S']} can't be read") from error
            if isinstance(entry, Hold) and entry.decision.outcome is Outcome.DECLINED:
                declined.append(entry)
                continue
            kind, _, entry_id = entry.key.partition("#")
            balance = entry.after if isinstance(entry, Adjustment) else None
            change = LedgerEntry(ChangeType(kind), entry.amount, entry_id)
            applied.append(_Applied(entry.time, change, balance))
            if isinstance(entry, Hold):
                held[entry.order_id] = entry
        orders = tables.orders.orders(held)
        for order_id, hold in held.items():
            order = orders.get(order_id)
            if order is None:
                raise IncompleteLedgerError(f"its order {order_id} can't be read")
            if order.status is OrderStatus.SHIPPED:  # a terminal status, so the last update is the settlement
                change = LedgerEntry(ChangeType.SETTLE, hold.amount, order_id)
                applied.append(_Applied(order.update_time, change))
    return applied, declined


def _put(tables: Tables, table: LedgerTable, missing: MissingRecord) -> bool:
    """Write a record; False if it exists meanwhile."""
    try:
        tables.history.add(table, missing.record)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    if missing.replaces:
        tables.history.remove(table, missing.replaces)
    return True


def _accounts_for(changes: tuple[LedgerEntry, ...], commit: Commit) -> bool:
    """Whether a commit that does not name its entries is made of these changes."""
    is_unnamed = all(change.id is None for change in commit.changes)
    return is_unnamed and fold(commit.entity, changes) == fold(commit.entity, commit.changes)


def _sum_of(first: Balance, second: Balance) -> Balance:
    return Balance(first.balance + second.balance, first.held + second.held, first.settled + second.settled)


def _amounts(balance: Balance) -> tuple[object, ...]:
    return balance.balance, balance.held, balance.settled
