"""Compare the history with the ledgers, and write the records that are missing.

Records are missing if the stack had orders before it had a history, or if history_projector failed
permanently. The ledgers have adjustments, holds and releases, with their times; the orders have settlements.
Only the history has transfers between the heads of a customer or product, except for the last write, which is
in the head. Missing transfers are inferred from the figures before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import botocore.exceptions

from order_capture.adapters import system
from order_capture.adapters.dynamodb.history_repository import record_from_item
from order_capture.adapters.dynamodb.types import from_item
from order_capture.adapters.serializers.fields import mapping, number
from order_capture.domain.history import ChangeType, Commit, HistoryRecord, LedgerEntry, fold
from order_capture.domain.ledger import ZERO, Adjustment, Balance, Entry, Hold, Release
from order_capture.domain.order import OrderStatus
from order_capture.domain.stripes import entity_of, head_names
from order_capture.domain.times import after
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import (
    UNREADABLE,
    LedgerTable,
    Partition,
    StoredOrder,
    Tables,
)

# Newer changes are left to the stream, which may be about to write them and is more precise: here, two writes
# within one millisecond count as one. No write takes this long, so everything older is complete.
MIN_AGE_SECONDS = 60

_HASH_BITS = 0xFFFF_FFFF_FFFF_FFFF


@dataclass
class RebuiltHistory:
    """The number of missing `records`. Heads in `left`, with the reason, were not rebuilt."""

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


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """The effect of an entry, or of an order's settlement, on one head."""

    head: str
    time: str
    change: LedgerEntry


def applied_changes(entry: Entry, order: StoredOrder | None) -> Iterator[AppliedChange]:
    """The effects of an entry, and of its order's settlement, on the heads."""
    match entry:
        case Adjustment():
            yield AppliedChange(
                entry.entity,
                entry.time,
                LedgerEntry(ChangeType.ADJUST, entry.amount, entry.adjustment_id),
            )
        case Release():
            for head, amount in entry.amounts.items():
                yield AppliedChange(head, entry.time, LedgerEntry(ChangeType.RELEASE, amount, entry.order_id))
        case Hold() if entry.is_held:
            for head, amount in entry.amounts.items():
                yield AppliedChange(head, entry.time, LedgerEntry(ChangeType.HOLD, amount, entry.order_id))
                if order and order.status is OrderStatus.SHIPPED:  # terminal, so it was the last update
                    yield AppliedChange(
                        head, order.update_time, LedgerEntry(ChangeType.SETTLE, amount, entry.order_id)
                    )


def old_enough() -> str:
    """The time until which the history must be complete."""
    return after(system.clock(), -MIN_AGE_SECONDS)


class HistorySurvey:
    """Find the heads whose history looks wrong, in one scan of each ledger and of the history.

    A head's entries are scattered over the ledger, so only one number is kept per head: the sum of its
    entries' hashes minus the sum of its history's. It is 0 if the two are the same.
    """

    def __init__(self, until: str, since: Mapping[str, str]) -> None:
        """`since` is the time until which each ledger's books are closed, by its key."""
        self._until = until
        self._since = since
        self._erased: set[str] = set()
        self._sums: dict[str, int] = {}
        self._heads: dict[str, Balance] = {}

    def add(self, partition: Partition) -> None:
        """Add a partition of a ledger."""
        table = partition.table
        if partition.closing and partition.closing.is_erased:
            self._erased.add(_key(table, partition.key))
        if isinstance(partition.balance, Balance):
            self._heads[_key(table, partition.key)] = partition.balance
        elif partition.balance:
            self._sums[_key(table, partition.key)] = 1
        for item, _ in partition.unreadable:
            self._sums.update(dict.fromkeys((_key(table, each) for each in partition.affected(item)), 1))
        for entry in partition.entries:
            for change in applied_changes(entry, partition.order):
                self._add(_key(table, change.head), change.time, change.change, 1)
            if isinstance(entry, Hold) and not entry.is_held:
                self._add(_key(table, entry.entity), entry.time, entry.key, 1)

    def suspects(self, tables: Tables, on_progress: ProgressCallback) -> dict[LedgerTable, set[str]]:
        """The heads whose history must be compared entry by entry. Scans the history."""
        found: set[str] = set()
        unseen = {
            key for key, head in self._heads.items() if self._closed(key) < head.update_time <= self._until
        }
        for key, items in tables.history.histories():
            try:
                records = [record_from_item(item) for item in items]
            except UNREADABLE:
                found.add(key)
                continue
            records = [record for record in records if record.time <= self._until]
            for record in records:
                if isinstance(record, Hold):
                    self._add(key, record.time, record.key, -1)
                    continue
                for change in record.changes:
                    if change.type is not ChangeType.TRANSFER:
                        self._add(key, record.time, change, -1)
            head = self._heads.get(key)
            if head and any(record.time == head.update_time for record in records):
                unseen.discard(key)
            closed = self._closed(key)
            commits = open_commits(records, closed)
            is_broken = has_hole(commits, closed) or find_gap(commits, closed)
            if is_broken or (head and any(contradictions(head, commits))):
                found.add(key)
            on_progress("history records", len(items))
        found |= unseen | {key for key, difference in self._sums.items() if difference}
        found = {key for key in found if entity_of_key(key) not in self._erased}
        return {
            table: {key.partition("#")[2] for key in found if key.startswith(f"{table.key}#")}
            for table in tables.ledgers
        }

    def _closed(self, key: str) -> str:
        return self._since.get(key.partition("#")[0], "")

    def _add(self, key: str, time: str, what: LedgerEntry | str, sign: int) -> None:
        if self._closed(key) < time <= self._until:
            value = what if isinstance(what, str) else (what.key, what.amount)
            self._sums[key] = (self._sums.get(key, 0) + sign * hash((time, value))) & _HASH_BITS


@dataclass
class HeadLedger:
    """A ledger's data about one head."""

    head: str
    applied: list[AppliedChange] = field(default_factory=list)
    declined: list[Hold] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    """Adjustments of its customer or product: they mark all heads alike."""
    current: Balance | None = None
    last_entries: Mapping[str, object] = field(default_factory=dict)
    """The entries of its last write."""
    stripes: int = 0
    """The number of stripes of its customer or product."""
    closed_until: str = ""
    """The time until which the books are closed: neither ledger nor history has anything older."""
    incomplete: str = ""
    """Why its changes can't be determined."""


class HeadLedgers:
    """Collect a ledger's data about some heads."""

    def __init__(self, table: LedgerTable, heads: Collection[str], closed_until: str = "") -> None:
        self._table = table
        self.ledgers = {head: HeadLedger(head, closed_until=closed_until) for head in heads}
        self._by_entity: dict[str, list[HeadLedger]] = {}
        for head, ledger in self.ledgers.items():
            self._by_entity.setdefault(entity_of(head), []).append(ledger)

    def add(self, partition: Partition) -> None:
        """Add a partition of the ledger."""
        if partition.head:
            self._add_head(partition)
        for item, _ in partition.unreadable:
            for ledger in self._of(partition.affected(item)):
                ledger.incomplete = f"its entry {item['entry']['S']} can't be read"
        for entry in partition.entries:
            if isinstance(entry, Adjustment):
                for ledger in self._of([entry.entity]):
                    ledger.adjustments.append(entry)
            elif isinstance(entry, Hold) and not entry.is_held:
                if found := self.ledgers.get(entry.entity):
                    found.declined.append(entry)
            elif partition.order is None:
                for ledger in self._of(map(entity_of, entry.amounts)):
                    ledger.incomplete = f"its order {entry.order_id} can't be read"
            for change in applied_changes(entry, partition.order):
                if found := self.ledgers.get(change.head):
                    found.applied.append(change)

    def _add_head(self, partition: Partition) -> None:
        ledgers = self._of([entity_of(partition.key)])
        if not ledgers or not partition.head:
            return
        try:
            values = from_item(partition.head)
            entries = mapping(values, "lastEntries") if "lastEntries" in values else {}
        except UNREADABLE:
            entries = None
        for ledger in ledgers:
            if not isinstance(partition.balance, Balance) or entries is None:
                ledger.incomplete = f"{self._table.head_label(partition.key)} can't be read"
                continue
            if ledger.head == partition.key:
                ledger.current, ledger.last_entries = partition.balance, entries
            ledger.stripes = max(ledger.stripes, partition.balance.stripes)

    def _of(self, entities: Iterable[str]) -> list[HeadLedger]:
        return [ledger for entity in {*entities} for ledger in self._by_entity.get(entity, ())]


def rebuild(
    tables: Tables, *, dry_run: bool = False, on_progress: ProgressCallback = lambda *_: None
) -> RebuiltHistory:
    """Write every missing record. Existing records are kept, so it may be run at any time.

    Each ledger is scanned once to find the heads that lack records, and once more to collect their entries.
    """
    report = RebuiltHistory()
    until = old_enough()
    closed = {table.key: table.closed_until() for table in tables.ledgers}
    survey = HistorySurvey(until, closed)
    entities: dict[LedgerTable, set[str]] = {table: set() for table in tables.ledgers}
    for table in tables.ledgers:
        for partition in tables.partitions(table):
            survey.add(partition)
            entities[table].update(_entities(partition))
            on_progress(f"{table.noun} entries", partition.size)
    for table, heads in survey.suspects(tables, on_progress).items():
        collected = HeadLedgers(table, heads, closed[table.key])
        if heads:
            for partition in tables.partitions(table):
                collected.add(partition)
        left: dict[str, str] = {}
        for head, ledger in sorted(collected.ledgers.items()):
            try:
                missing = missing_records(tables, table, ledger, until)
            except IncompleteLedgerError as error:
                left[entity_of(head)] = str(error)
                continue
            if not dry_run:
                missing = [each for each in missing if _put(tables, table, each)]
            report.records += len(missing)
            on_progress("records", len(missing))
        report.left += [f"{table.label(entity)}: {reason}" for entity, reason in left.items()]
        number_done = len(entities[table] - left.keys())
        if table.noun == "account":
            report.accounts += number_done
        else:
            report.products += number_done
    return report


def missing_records(
    tables: Tables, table: LedgerTable, ledger: HeadLedger, until: str
) -> list[MissingRecord]:
    """The records that a head's history lacks, except those that are newer than `until`.

    Raises:
        IncompleteLedgerError: an entry, or its order, can't be read.
    """
    if ledger.incomplete:
        raise IncompleteLedgerError(ledger.incomplete)
    records = history_records(tables, table, ledger.head)
    commits = open_commits(records, ledger.closed_until)
    existing = {(record.time, record.key) for record in records}
    missing = [
        MissingRecord(hold)
        for hold in ledger.declined
        if ledger.closed_until < hold.time <= until and (hold.time, hold.key) not in existing
    ]
    groups = _unrecorded(ledger, commits, until)
    for time, changes in list(groups.items()):
        at_time = (commit for commit in commits if commit.time == time)
        if unnamed := next((each for each in at_time if _accounts_for(changes, each)), None):
            missing.append(MissingRecord(replace(unnamed, changes=tuple(changes)), unnamed))
            del groups[time]

    def transfer_at(time: str) -> str | None:
        return _transfer_at(tables, table, ledger, time)

    before, stretch = _first_balance(ledger, commits, groups, until), dict[str, list[LedgerEntry]]()
    for commit in commits:
        stretch = {time: groups.pop(time) for time in sorted(groups) if time < commit.time}
        reached, end = commit.before or Balance(ZERO), commit.previous_time
        missing += map(MissingRecord, _commits(ledger, before, stretch, reached, end, transfer_at))
        before = commit.after
    stretch = dict(sorted(groups.items()))
    if ledger.current and ledger.current.update_time <= until:
        current = ledger.current
        missing += map(
            MissingRecord, _commits(ledger, before, stretch, current, current.update_time, transfer_at)
        )
    elif not ledger.stripes:  # with several heads, the last changes may include transfers
        missing += map(MissingRecord, _commits(ledger, before, stretch, None, "", transfer_at))
    return missing


def contradictions(head: Balance, commits: Iterable[Commit]) -> Iterator[tuple[str, str, str]]:
    """Where a head differs from the result of its history: name, expected and actual value.

    `head` must have been read no earlier than the commits, so that none of them can be ahead of it.
    """
    by_version = {commit.after.version: commit for commit in commits}
    newest = max(by_version, default=0)
    if newest > head.version:
        yield "version (its history is ahead)", f"at least {newest}", f"{head.version}"
    elif (commit := by_version.get(head.version)) and _amounts(commit.after) != _amounts(head):
        what = f"balance, held and settled at version {head.version} (by its history)"
        yield what, format_amounts(commit.after), format_amounts(head)


def surplus_entries(ledger: HeadLedger, commits: Iterable[Commit], until: str) -> list[str]:
    """The keys of entries in a head's commits that the ledger lacks, or has with another amount."""
    known = {each.change.key: each.change.amount for each in ledger.applied}
    commits = (commit for commit in commits if commit.time > ledger.closed_until)
    return sorted(
        change.key
        for commit in commits
        if commit.time <= until
        for change in commit.changes
        if change.type is not ChangeType.TRANSFER and known.get(change.key) != change.amount
    )


def find_gap(commits: Sequence[Commit], closed_until: str = "") -> tuple[Commit, Balance] | None:
    """The first of a head's commits that does not follow from the one before it, and the expected figures."""
    before = Balance(ZERO)
    if closed_until and commits:
        before = commits[0].before or before
    for commit in commits:
        expected = _sum_of(before, fold(commit.entity, commit.changes))
        if _amounts(expected) != _amounts(commit.after):
            return commit, expected
        before = commit.after
    return None


def open_commits(records: Iterable[HistoryRecord], closed_until: str) -> list[Commit]:
    """The commits among a head's records that are newer than its closed books.

    Some older records may still exist, and two records' times alone may give the wrong order.
    """
    commits = commits_of(records)
    closed = max((each.after.version for each in commits if each.time <= closed_until), default=0)
    return [commit for commit in commits if commit.after.version > closed]


def has_hole(commits: Iterable[Commit], closed_until: str = "") -> bool:
    """Whether the predecessor of one of a head's commits is missing.

    Commits that were inferred together with others (see `_commits`) do not show that.
    """
    before = None if closed_until else ""
    for commit in commits:
        if before is None and commit.previous_time <= closed_until:
            pass  # nothing was written between the closing and this one
        elif commit.previous_time not in (before, commit.time):
            return True
        before = commit.time
    return False


def commits_of(records: Iterable[HistoryRecord]) -> list[Commit]:
    """The commits among a head's records, in their original order."""
    commits = [record for record in records if isinstance(record, Commit)]
    return sorted(commits, key=lambda commit: commit.after.version)


def history_records(tables: Tables, table: LedgerTable, head: str) -> list[HistoryRecord]:
    """All records of one head, oldest first.

    Raises:
        UnreadableHistoryError: one can't be read.
    """
    try:
        return list(tables.history.records(table, head))
    except UNREADABLE as error:
        raise UnreadableHistoryError from error


def format_amounts(balance: Balance) -> str:
    """Balance, held and settled."""
    return f"{balance.balance:f}, {balance.held:f}, {balance.settled:f}"


def _entities(partition: Partition) -> Iterator[str]:
    """The customers or products in a partition."""
    if partition.head:
        yield entity_of(partition.key)
    for entry in partition.entries:
        if isinstance(entry, Adjustment | Hold):
            yield entry.entity
    for item, _ in partition.unreadable:
        yield from partition.affected(item)


def _unrecorded(ledger: HeadLedger, commits: Iterable[Commit], until: str) -> dict[str, list[LedgerEntry]]:
    """The changes that are in no commit, by time."""
    named = {change.key for commit in commits for change in commit.changes}
    times = {commit.time for commit in commits}
    groups: dict[str, list[LedgerEntry]] = {}
    for each in sorted(ledger.applied, key=lambda each: (each.time, each.change.key)):
        if ledger.closed_until < each.time <= until and each.change.key not in named:
            groups.setdefault(each.time, []).append(each.change)
    if (current := ledger.current) and current.update_time <= until and current.update_time not in times:
        for key in ledger.last_entries:
            kind, _, name = key.partition("#")
            if kind == ChangeType.TRANSFER and key not in named:
                change = LedgerEntry(ChangeType.TRANSFER, number(ledger.last_entries, key), name)
                groups.setdefault(current.update_time, []).append(change)
    return groups


def _commits(
    ledger: HeadLedger,
    before: Balance,
    stretch: Mapping[str, list[LedgerEntry]],
    reached: Balance | None,
    end: str,
    transfer_at: Callable[[str], str | None],
) -> Iterator[Commit]:
    """The commits that led from `before` to `reached` (None: unknown), the last of them at `end`.

    If there are several heads, what the entries do not account for was transferred. For a single missing
    write this is exact. For several it is unknown which of them included the transfer: then each gets the
    minimum that it requires, and the last one the rest. These commits cover no time, so no response contains
    a balance that never existed.
    """
    entries = [change for changes in stretch.values() for change in changes]
    unaccounted, is_exact = ZERO, True
    if ledger.stripes and reached:
        unaccounted = reached.balance - _sum_of(before, fold(ledger.head, entries)).balance
        if end != before.update_time:  # if equal, none is missing between the two
            stretch = dict(sorted({end: [], **stretch}.items()))
        is_exact = reached.version - before.version == len(stretch) and (not unaccounted or len(stretch) == 1)
    last = max(stretch, default="")
    for time, changes in stretch.items():
        balance = before.balance + fold(ledger.head, changes).balance
        transferred = unaccounted if time == last else max(ZERO, -balance) if unaccounted else ZERO
        unaccounted -= transferred
        types = {change.type for change in changes}
        if transferred or (ledger.stripes and types <= {ChangeType.ADJUST}):  # it may be of nothing
            name = transfer_at(time) if is_exact else None
            if transferred or name:
                changes = [*changes, LedgerEntry(ChangeType.TRANSFER, transferred, name)]
        adjustments = [each for each in ledger.adjustments if each.time <= time]
        marks = max(adjustments, key=lambda each: each.after.version, default=None)
        # An adjustment's version counts the writes of all heads together.
        known = [each.after.version for each in adjustments if each.time == time and not ledger.stripes]
        figures = _sum_of(before, fold(ledger.head, changes))
        reached_then = replace(
            figures,
            version=max(before.version + 1, *known) if known else before.version + 1,
            update_time=time,
            deleted=marks.after.deleted if marks else False,
            price=marks.after.price if marks else None,
            stripes=reached.stripes if reached and time == last else before.stripes,
        )
        yield Commit(
            ledger.head,
            tuple(changes),
            reached_then,
            before.update_time if is_exact else time,
            before.deleted,
            before.price,
            before.stripes,
        )
        before = reached_then


def _transfer_at(tables: Tables, table: LedgerTable, ledger: HeadLedger, time: str) -> str | None:
    """The id of a transfer between other heads and this one at that time, if their histories have one."""
    names: set[str | None] = set()
    for head in head_names(entity_of(ledger.head), ledger.stripes):
        if head != ledger.head:
            names |= {
                change.id
                for commit in commits_of(history_records(tables, table, head))
                if commit.time == time
                for change in commit.changes
                if change.type is ChangeType.TRANSFER
            }
    return names.pop() if len(names) == 1 else None


def _put(tables: Tables, table: LedgerTable, missing: MissingRecord) -> bool:
    """Write a record; False if it was written meanwhile."""
    try:
        tables.history.add(table, missing.record)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    if missing.replaces:
        tables.history.remove(table, missing.replaces)
    return True


def _accounts_for(changes: Iterable[LedgerEntry], commit: Commit) -> bool:
    """Whether a commit without its entries consists of these changes."""
    is_unnamed = all(change.id is None for change in commit.changes)
    return is_unnamed and fold(commit.entity, changes) == fold(commit.entity, commit.changes)


def _first_balance(
    ledger: HeadLedger, commits: Sequence[Commit], missing: Mapping[str, Sequence[LedgerEntry]], until: str
) -> Balance:
    """The head when its books were closed: the first known state after it, minus the missing changes."""
    if not ledger.closed_until:
        return Balance(ZERO)
    if commits:
        reached, end = commits[0].before, commits[0].time
    else:
        reached, end = ledger.current, until
    if reached is None:
        return Balance(ZERO)
    stretch = [changes for time, changes in missing.items() if time < end or not commits]
    undone = fold(ledger.head, [change for changes in stretch for change in changes])
    return replace(
        reached,
        balance=reached.balance - undone.balance,
        held=reached.held - undone.held,
        settled=reached.settled - undone.settled,
        version=reached.version - len(stretch),
        update_time=ledger.closed_until if stretch else reached.update_time,
    )


def entity_of_key(key: str) -> str:
    """The history key of a customer or product, from that of a head: `productId#pen#3`, `productId#pen`."""
    name, _, head = key.partition("#")
    return f"{name}#{entity_of(head)}"


def _key(table: LedgerTable, head: str) -> str:
    """The partition key of a head's history."""
    return f"{table.key}#{head}"


def _sum_of(first: Balance, second: Balance) -> Balance:
    return Balance(first.balance + second.balance, first.held + second.held, first.settled + second.settled)


def _amounts(balance: Balance) -> tuple[object, ...]:
    return balance.balance, balance.held, balance.settled
