"""The history against the ledgers: what is missing in it, and writing that.

It is missing where a stack had orders before it had a history, and where history_projector had to give up.
Adjustments, holds and releases are in the ledgers, with their times; when an order was settled, the order
says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

import botocore.exceptions

from order_capture.adapters import system
from order_capture.domain.history import ChangeType, Commit, HistoryRecord, LedgerEntry, fold
from order_capture.domain.ledger import Adjustment, Balance, Hold
from order_capture.domain.order import OrderStatus, Outcome
from order_capture.domain.times import after
from order_capture_ops.tables import HEAD, RECEIPTS, UNREADABLE, LedgerTable, Tables

# What is younger is left to the stream, which may be about to write it, and knows more: here, two writes
# within one millisecond are taken for one. No write takes that long, so that all that carries an earlier time
# is there.
YOUNG_SECONDS = 60

Tick = Callable[[str, int], None]


@dataclass
class Rebuilt:
    """What was done: `lines` were missing. Of those in `left` nothing was written, for the reason given."""

    accounts: int = 0
    products: int = 0
    lines: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Missing:
    """A line that is not there. `instead` is one of the same write that does not name its entries, if any."""

    line: HistoryRecord
    instead: Commit | None = None


class UnknownError(Exception):
    """What was done to somebody can't be found out."""


class UnreadableHistoryError(UnknownError):
    """A line of somebody's history is not as the functions write it."""

    def __init__(self) -> None:
        super().__init__("a line of its history can't be read")


@dataclass(frozen=True)
class _Done:
    """An entry that moved the head, or the settlement of an order."""

    time: str
    change: LedgerEntry
    after: Balance | None = None  # the head that it led to, where the entry says it

    @property
    def version(self) -> int:
        """The version of that head; 0 if it is not known."""
        return self.after.version if self.after else 0


def rebuild(tables: Tables, *, dry_run: bool = False, tick: Tick = lambda *_: None) -> Rebuilt:
    """Write every line that is missing. What is there stays as it is, so that it may be run at any time."""
    report = Rebuilt()
    for table in tables.ledgers:
        for entity in _entities(table, tick):
            try:
                missing = missing_lines(tables, table, entity)
            except UnknownError as error:
                report.left.append(f"{table.label(entity)}: {error}")
                continue
            if not dry_run:
                missing = [each for each in missing if _put(tables, table, each)]
            report.lines += len(missing)
            if table.noun == "account":
                report.accounts += 1
            else:
                report.products += 1
            tick("lines", len(missing))
    return report


def missing_lines(tables: Tables, table: LedgerTable, entity: str) -> list[Missing]:
    """The lines that a customer's or a product's history has not, but for those of the last minute.

    Raises:
        UnknownError: an entry, or an order that it is for, can't be read.
    """
    until = after(system.clock(), -YOUNG_SECONDS)
    done, declined = _ledger(tables, table, entity)
    lines = history_lines(tables, table, entity)
    commits: dict[str, list[Commit]] = {}
    for line in lines:
        if isinstance(line, Commit):
            commits.setdefault(line.time, []).append(line)
    there = {(line.time, line.key) for line in lines}
    named = {change.key for of_one in commits.values() for line in of_one for change in line.changes}

    missing = [
        Missing(hold) for hold in declined if hold.time <= until and (hold.time, hold.key) not in there
    ]
    figures, since, version, deleted, price = fold(entity, ()), "", 0, False, None
    for time, of_one_time in groupby(sorted(done, key=lambda each: each.time), key=lambda each: each.time):
        group, found = list(of_one_time), commits.get(time, [])
        figures = _added(figures, fold(entity, (each.change for each in group)))
        version = max(version + 1, *(each.version for each in group), *(line.after.version for line in found))
        was_deleted, price_before = deleted, price
        if heads := [each.after for each in group if each.after]:
            last = max(heads, key=lambda head: head.version)
            deleted, price = last.deleted, last.price
        unnamed = tuple(each.change for each in group if each.change.key not in named)
        if unnamed and time <= until:
            instead = next((line for line in found if _is_told_by(unnamed, line)), None)
            head = replace(figures, version=version, update_time=time, deleted=deleted, price=price)
            commit = Commit(entity, unnamed, head, since, was_deleted, price_before)
            if instead:
                commit = replace(instead, changes=unnamed)
            missing.append(Missing(commit, instead))
        since = time
    return missing


def gap(tables: Tables, table: LedgerTable, entity: str) -> tuple[Commit, Balance] | None:
    """The first line whose figures do not follow from those of the line before it, and these.

    Raises:
        UnreadableHistoryError: a line can't be read.
    """
    commits = [line for line in history_lines(tables, table, entity) if isinstance(line, Commit)]
    old = fold(entity, ())
    for commit in sorted(commits, key=lambda line: line.after.version):
        moved = _added(old, fold(entity, commit.changes))
        if _figures(moved) != _figures(commit.after):
            return commit, moved
        old = commit.after
    return None


def history_lines(tables: Tables, table: LedgerTable, entity: str) -> list[HistoryRecord]:
    """All lines of one customer or product, oldest first.

    Raises:
        UnreadableHistoryError: one can't be read.
    """
    try:
        return list(tables.history.lines(table, entity))
    except UNREADABLE as error:
        raise UnreadableHistoryError from error


def _entities(table: LedgerTable, tick: Tick) -> Iterator[str]:
    """Every customer or product, once each: the items of one come one after the other."""
    last = ""
    for page in table.pages():
        for entity in map(table.entity, page):
            if entity != last and not entity.startswith(RECEIPTS):
                yield entity
            last = entity
        tick(f"{table.noun} entries", len(page))


def _ledger(tables: Tables, table: LedgerTable, entity: str) -> tuple[list[_Done], list[Hold]]:
    """What was done, and what was declined, in any order."""
    done: list[_Done] = []
    declined: list[Hold] = []
    for page in table.partition(entity):
        held: dict[str, Hold] = {}
        for item in page:
            if item["entry"]["S"] == HEAD:
                continue
            try:
                entry = table.read_entry(item)
            except UNREADABLE as error:
                raise UnknownError(f"its entry {item['entry']['S']} can't be read") from error
            if isinstance(entry, Hold) and entry.decision.outcome is Outcome.DECLINED:
                declined.append(entry)
                continue
            kind, _, entry_id = entry.key.partition("#")
            head = entry.after if isinstance(entry, Adjustment) else None
            done.append(_Done(entry.time, LedgerEntry(ChangeType(kind), entry.amount, entry_id), head))
            if isinstance(entry, Hold):
                held[entry.order_id] = entry
        orders = tables.orders.orders(held)
        for order_id, hold in held.items():
            order = orders.get(order_id)
            if order is None:
                raise UnknownError(f"its order {order_id} can't be read")
            if order.status is OrderStatus.SHIPPED:  # which is final: its last change is that one
                done.append(_Done(order.update_time, LedgerEntry(ChangeType.SETTLE, hold.amount, order_id)))
    return done, declined


def _put(tables: Tables, table: LedgerTable, missing: Missing) -> bool:
    """Write a line; False if somebody else just has."""
    try:
        tables.history.add(table, missing.line)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    if missing.instead:
        tables.history.remove(table, missing.instead)
    return True


def _is_told_by(changes: tuple[LedgerEntry, ...], line: Commit) -> bool:
    """Whether a line without names is of these changes."""
    is_nameless = all(change.id is None for change in line.changes)
    return is_nameless and fold(line.entity, changes) == fold(line.entity, line.changes)


def _added(head: Balance, more: Balance) -> Balance:
    return Balance(head.balance + more.balance, head.held + more.held, head.settled + more.settled)


def _figures(head: Balance) -> tuple[object, ...]:
    return head.balance, head.held, head.settled
