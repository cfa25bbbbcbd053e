"""Make the ledgers agree with the orders, after tables were restored to slightly different times.

Each table is restored separately, so a transaction over several tables may be in some and not in others. The
sources of truth are:

- for an order's outcome: the order table. A ledger's entry without an order is removed, and an entry
  that an order has and the ledger lacks is written;
- for the amounts put in: the ledger's adjustments. Orders never change these;
- for a head's figures: nothing stored. They are computed from the two above.

An order whose books were being closed (`close_books`) is the exception: it is weeks old, and deleted from
some of the tables. Its closing is completed.

So the result is correct for any restore times, or it lists what needs a person's decision: less was put in
than the orders have taken. Meanwhile nothing may write to the tables or read their streams: these writes are
not business changes, and must not appear in a history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository, balance_update
from order_capture.adapters.dynamodb.types import to_item
from order_capture.adapters.system import backoff, clock
from order_capture.application.ports import WriteRefusedError
from order_capture.application.retry import Retry
from order_capture.domain.ledger import (
    ADJUSTMENT,
    ZERO,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    Hold,
    Release,
    primary_entity,
)
from order_capture.domain.order import CheckRecorded, DeclineCode, OrderStatus, Outcome
from order_capture.domain.stripes import entity_of, head_names
from order_capture.domain.times import after, format_utc
from order_capture_ops.close_books import close_entries, delete_all, settled_by
from order_capture_ops.errors import CommandError
from order_capture_ops.history import format_amounts
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import (
    BALANCE_ENTRY,
    ORDER_PREFIX,
    LedgerTable,
    Partition,
    StoredOrder,
    Tables,
    is_order,
    read_order,
)

MAX_HEAD_WRITES = 100
"""The maximum writes per second to a head: a transaction on one head takes twelve milliseconds or more
(docs/explanation/hot-products.md)."""

LONG_AGO = 30 * 24 * 3600
"""Seconds before the restored time. If an order that ended before is missing in a table, its books were
closed: that takes 60 days, and the tables' times are minutes apart at most."""

UNKNOWN_ORDER = "entry of an order that does not exist"
TOO_EARLY = "decision about an order that is open again"
RELEASED = "release of an order that is not refused"
NOT_RELEASED = "hold of a refused order, not released"
NO_HOLD = "hold that is in the order, but not in the ledger"
NO_DECLINE = "decline that is in the order, but not in the ledger"
GIVEN_UP = "hold of an undecided order, released for decided ones"
FIGURES = "balance, held or settled"
ADJUSTED = "missing amount, adjusted"
HALF_CLOSED = "order whose books are closed in some of the tables"

CURES = {
    UNKNOWN_ORDER: "removed, the amount returned",
    TOO_EARLY: "removed; the watchdog rechecks the order",
    RELEASED: "removed, the amount held again",
    NOT_RELEASED: "released",
    NO_HOLD: "written from the order",
    NO_DECLINE: "written from the order",
    GIVEN_UP: "removed; the watchdog rechecks the order",
    FIGURES: "computed from entries and orders",
    ADJUSTED: "an adjustment was written",
    HALF_CLOSED: "closed in all of them",
}
"""The cure for each kind of contradiction."""


@dataclass(frozen=True)
class Cure:
    """A contradiction, and its subject. `CURES` has the cure."""

    kind: str
    entity: str
    detail: str = ""


@dataclass
class Reconciliation:
    """The contradictions found, and what needs a person's decision."""

    cures: list[Cure] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    """Each text names an account, a product or an order, and the options."""
    short: dict[str, Decimal] = field(default_factory=dict)
    """What each account or product lacks to cover the orders; part of `undecided`."""
    heads: int = 0
    """The number of balances; each has a version that no reader has seen."""

    @property
    def counts(self) -> Counter[str]:
        """The number of cures by kind."""
        return Counter(cure.kind for cure in self.cures)


class _Books:
    """The figures that the heads of one ledger must have."""

    def __init__(self) -> None:
        self.heads: dict[str, Balance] = {}
        self.held: dict[str, Decimal] = {}
        self.settled: dict[str, Decimal] = {}
        self.adjusted: dict[str, Decimal] = {}
        self.last: dict[str, str] = {}
        """The time of each head's last change by an entry or a settlement."""
        self.version: dict[str, int] = {}
        """The newest version set by an adjustment, by customer or product."""
        self.unclear: set[str] = set()
        """Customers and products whose figures can't be computed."""

    def count(self, entry: Adjustment | Hold, order: StoredOrder | None = None, sign: int = 1) -> None:
        """Add, or subtract, the effects of an entry and of its order's settlement on the heads."""
        if isinstance(entry, Adjustment):
            _add(self.adjusted, entry.entity, entry.amount)
            self.version[entry.entity] = max(self.version.get(entry.entity, 0), entry.after.version)
            self.touch(entry.entity, entry.time)
            return
        is_shipped = order is not None and order.status is OrderStatus.SHIPPED
        for head, amount in entry.amounts.items():
            _add(self.settled if is_shipped else self.held, head, sign * amount)
            self.touch(head, order.update_time if order and is_shipped else entry.time)

    def touch(self, head: str, time: str) -> None:
        """Record that a head was written at that time."""
        self.last[head] = max(self.last.get(head, ""), time)

    def entities(self) -> set[str]:
        """The customers or products that exist or should exist."""
        return {entity_of(name) for name in {*self.heads, *self.held, *self.settled, *self.adjusted}}

    def names(self, entity: str) -> list[str]:
        """All heads of an entity: existing ones, and those with amounts."""
        root = self.heads.get(entity)
        known = {*head_names(entity, root.stripes if root else 0)}
        for each in (self.heads, self.held, self.settled):
            known |= {name for name in each if entity_of(name) == entity}
        return sorted(known, key=lambda name: (len(name), name))

    def taken(self, entity: str) -> Decimal:
        """The amount of an entity that orders hold and have settled."""
        return sum(
            (each.get(name, ZERO) for name in self.names(entity) for each in (self.held, self.settled)), ZERO
        )

    def total(self, entity: str) -> Decimal:
        """The amount of an entity that can still be spent or sold."""
        return self.adjusted.get(entity, ZERO) - self.taken(entity)


def reconcile(
    tables: Tables,
    moment: datetime,
    *,
    dry_run: bool = False,
    adjust: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
) -> Reconciliation:
    """Make both ledgers agree with the orders. May be interrupted and repeated.

    Args:
        tables: the restored tables, without other writers.
        moment: the restored time. Versions are advanced by the time since then: consumers with copies keep
            the highest, and may have seen higher ones than were restored.
        dry_run: only report; write nothing.
        adjust: write an adjustment for the missing amount of an account or product.
        on_progress: is called with what is being read.
    """
    result = Reconciliation()
    closing = _half_closed(tables, moment)
    result.cures += [Cure(HALF_CLOSED, f"order {order_id}") for order_id in sorted(closing)]
    for table in tables.ledgers:
        ledger = _Ledger(tables, table, moment, result, closing, on_progress)
        ledger.reconcile(dry_run=dry_run, adjust=adjust)
    if not dry_run:  # last: once the order is gone, only the ledgers' entries show that it was closed
        delete_all(tables.orders, [to_item({"orderId": order_id}) for order_id in sorted(closing)])
    return result


def _half_closed(tables: Tables, moment: datetime) -> set[str]:
    """The ids of orders whose books are closed in some of the tables only."""
    until = after(format_utc(moment), -LONG_AGO)
    found = set()
    for table in tables.ledgers:
        for partition in tables.partitions(table):
            if not partition.order_exists:
                holds = (entry for entry in partition.entries if isinstance(entry, Hold))
                found |= {hold.order_id for hold in holds if hold.time <= until}
        closed_until = min(until, table.closed_until())
        for page in tables.orders.pages():
            orders = (read_order(item) for item in page if is_order(item))
            old = {
                order.order_id
                for order in orders
                if order and not order.is_open and order.update_time <= closed_until
                if table.spec.check in order.checks
            }
            found |= old - table.holds(old).keys()
    return found


class _Ledger:
    """The reconciliation of one ledger."""

    def __init__(
        self,
        tables: Tables,
        table: LedgerTable,
        moment: datetime,
        result: Reconciliation,
        closing: Collection[str],
        on_progress: ProgressCallback,
    ) -> None:
        self._tables = tables
        self._table = table
        self._result = result
        self._closing = closing
        self._on_progress = on_progress
        self._books = _Books()
        self._puts: list[Entry] = []
        self._deletes: list[tuple[str, str]] = []  # partition, and entry
        self._new_heads: list[BalanceChange] = []
        self._closed: list[tuple[Hold | None, Release | None]] = []
        self._writer = DynamoLedgerRepository(table.client, table.name, table.key, Retry(backoff))
        self._writes = MAX_HEAD_WRITES * (1 + max(0, int((datetime.now(UTC) - moment).total_seconds())))

    def reconcile(self, *, dry_run: bool, adjust: bool) -> None:
        for partition in self._tables.partitions(self._table):
            self._add(partition)
            self._on_progress(f"{self._table.noun} entries", partition.size)
        for page in self._tables.orders.pages():
            self._add_missing([order for item in page if is_order(item) and (order := read_order(item))])
            self._on_progress("orders", len(page))
        if short := {entity for entity, _ in self._short()}:
            self._give_up_undecided(short)
        for entity, lacking in [*self._short()]:
            if adjust:
                self._adjust(entity, lacking)
            else:
                self._name_short(entity, lacking)
        updates = [*self._head_updates()]
        if dry_run:
            return
        for hold, release in self._closed:
            close_entries(self._table, hold, release)
        # The entries first: they can be rewritten, and the figures are computed from them.
        for partition_key, entry in self._deletes:
            key = to_item({self._table.key: partition_key, "entry": entry})
            self._table.client.delete_item(TableName=self._table.name, Key=key)
        for put in self._puts:
            self._put(put)
        for change in self._new_heads:
            put = balance_update(self._table.name, self._table.key, change, clock())["Put"]
            self._table.client.put_item(**put)
        for update in updates:
            self._table.client.update_item(TableName=self._table.name, **update)
            self._on_progress("balances", 1)

    # ------------------------------------------------------------------------------------------ the entries
    def _add(self, partition: Partition) -> None:
        """Decide what to do with a partition of the ledger."""
        if isinstance(partition.balance, Balance):
            self._books.heads[partition.key] = partition.balance
        elif partition.balance is not None:
            self._unclear({entity_of(partition.key)}, f"{partition.key}: its balance can't be read")
        for item, error in partition.unreadable:
            self._unclear(partition.affected(item), f"{partition.key}: {item['entry']['S']}: {error}")
        if partition.closing:
            _add(self._books.adjusted, entity_of(partition.key), partition.closing.adjusted)
            _add(self._books.settled, partition.key, partition.closing.settled)
        hold = release = None
        for entry in partition.entries:
            match entry:
                case Adjustment():
                    self._books.count(entry, None)
                case Hold():
                    hold = entry
                case Release():
                    release = entry
        if not (hold or release):
            return
        if partition.key.removeprefix(ORDER_PREFIX) in self._closing:
            self._close(hold, release)
            return
        if partition.order_exists and partition.order is None:
            entities = {entity_of(head) for each in (hold, release) if each for head in each.amounts}
            self._unclear(entities, f"order {partition.key.removeprefix(ORDER_PREFIX)} can't be read")
            return
        self._decide(hold, release, partition.order)

    def _close(self, hold: Hold | None, release: Release | None) -> None:
        """Close the books of an order that ended long ago, as in another table."""
        for head, amount in settled_by(hold, release).items():
            _add(self._books.settled, head, amount)
        self._closed.append((hold, release))

    def _decide(self, hold: Hold | None, release: Release | None, order: StoredOrder | None) -> None:
        """Keep, remove or complete a ledger's entries for one order."""
        if order is None:
            self._remove(UNKNOWN_ORDER, hold, release)
            return
        result = order.checks.get(self._table.spec.check)
        is_refused = not order.is_open and order.status is not OrderStatus.SHIPPED
        if hold and result and hold.decision.outcome is not result.outcome:
            entities = {*map(entity_of, hold.amounts), hold.entity}
            self._unclear(entities, f"order {order.order_id} was {result}, its ledger says {hold.decision}")
            return
        if is_refused:
            if hold is None and release:  # `_add_missing` writes both, if it was held
                self._deletes.append((_key(order.order_id), release.key))
            elif hold and hold.is_held and release is None:
                self._cure(NOT_RELEASED, hold)
                self._puts.append(Release(order.order_id, hold.amounts, order.update_time))
            return
        if result is None and (release or (hold and hold.decision.code == DeclineCode.ORDER_CLOSED)):
            self._remove(TOO_EARLY, hold, release)
            return
        if release:
            self._remove(RELEASED, None, release)
        if hold and hold.is_held:
            self._books.count(hold, order)

    def _add_missing(self, orders: list[StoredOrder]) -> None:
        """Write the entries that orders have and the ledger lacks."""
        check = self._table.spec.check
        known = {
            order.order_id: order
            for order in orders
            if check in order.checks and order.order_id not in self._closing
        }
        holds = self._table.holds(known)
        for order_id in known.keys() - holds.keys():
            order = known[order_id]
            result = order.checks[check]
            required = self._table.spec.required_amounts(order.details)
            is_held = result.outcome is Outcome.HELD
            times = (
                step.time
                for step in order.timeline
                if isinstance(step, CheckRecorded) and step.check is check
            )
            # The order does not record which head held it; `_level` moves amounts to heads that lack them.
            hold = Hold(
                primary_entity(required),
                order_id,
                required if is_held else {},
                result,
                next(times, order.update_time),
            )
            self._cure(NO_HOLD if is_held else NO_DECLINE, hold)
            self._puts.append(hold)
            if not is_held:
                continue
            if order.is_open or order.status is OrderStatus.SHIPPED:
                self._books.count(hold, order)
            else:
                self._puts.append(Release(order_id, required, order.update_time))

    def _remove(self, kind: str, hold: Hold | None, release: Release | None) -> None:
        entries = [entry for entry in (hold, release) if entry]
        self._cure(kind, entries[0])
        self._deletes += [(_key(entry.order_id), entry.key) for entry in entries]

    # ------------------------------------------------------------------------------------------ what is short
    def _short(self) -> Iterator[tuple[str, Decimal]]:
        for entity in sorted(self._books.entities() - self._books.unclear):
            total, taken = self._books.total(entity), self._books.taken(entity)
            if total < 0 or (entity not in self._books.heads and total + taken > 0):
                yield entity, max(ZERO, -total)

    def _give_up_undecided(self, short: set[str]) -> None:
        """Remove holds of undecided orders, newest first, until decided orders are covered."""
        found: list[tuple[Hold, StoredOrder]] = []
        removed = {*self._deletes}
        for partition in self._tables.partitions(self._table):
            order = partition.order
            if order is None or order.status is not OrderStatus.PENDING:
                continue
            found += [
                (entry, order)
                for entry in partition.entries
                if isinstance(entry, Hold)
                and entry.is_held
                and self._table.spec.check not in order.checks
                and (_key(order.order_id), entry.key) not in removed
                and short & {*map(entity_of, entry.amounts)}
            ]
        for hold, order in sorted(found, key=lambda each: each[0].time, reverse=True):
            if not {entity for entity, _ in self._short()} & {*map(entity_of, hold.amounts)}:
                continue
            self._books.count(hold, order, -1)
            self._remove(GIVEN_UP, hold, None)

    def _name_short(self, entity: str, lacking: Decimal) -> None:
        label = self._table.label(entity)
        self._result.short[label] = lacking
        self._books.unclear.add(entity)
        what = (
            f"{label} is {lacking:f} short of what orders have taken"
            if entity in self._books.heads
            else f"{label} did not exist yet, and orders have taken {self._books.taken(entity):f} of it"
        )
        self._result.undecided.append(
            f"{what}: restore this ledger to a later time, or book the missing amount (ADJUST=1)"
        )

    def _adjust(self, entity: str, lacking: Decimal) -> None:
        """Add the missing amount, with an adjustment entry."""
        now = clock()
        name = f"restore-{now}"
        root = self._books.heads.get(entity)
        if root is None:
            # Still without figures: these follow.
            self._new_heads.append(
                BalanceChange(entity, expected=0, entries={f"{ADJUSTMENT}{name}": lacking})
            )
            root = self._books.heads[entity] = Balance(ZERO, version=1, update_time=now)
        version = max(self._books.version.get(entity, 0), root.version) + 1
        after = replace(root, balance=root.balance + lacking, version=version, update_time=now)
        adjustment = Adjustment(entity, name, lacking, "restore", after, now)
        self._books.count(adjustment)
        self._puts.append(adjustment)
        self._result.cures.append(Cure(ADJUSTED, self._table.label(entity), f"{lacking:f}"))

    # ------------------------------------------------------------------------------------------- the figures
    def _head_updates(self) -> Iterator[dict[str, Any]]:
        """The writes that set the heads to the figures computed from entries and orders."""
        for entity in sorted(self._books.entities()):
            heads = {name: self._books.heads.get(name) for name in self._books.names(entity)}
            self._result.heads += len(heads)
            if entity in self._books.unclear:
                continue
            if missing := [name for name, head in heads.items() if head is None]:
                self._result.undecided.append(
                    f"{self._table.label(entity)}: its balance item {missing[0]} is missing"
                )
                continue
            yield from self._updates_of(entity, {name: head for name, head in heads.items() if head})

    def _updates_of(self, entity: str, heads: Mapping[str, Balance]) -> Iterator[dict[str, Any]]:
        books, label = self._books, self._table.label(entity)
        held = {name: books.held.get(name, ZERO) for name in heads}
        settled = {name: books.settled.get(name, ZERO) for name in heads}
        # A head keeps its total, since transfers between heads leave no entry.
        balances = {
            name: head.balance + head.held + head.settled - held[name] - settled[name]
            for name, head in heads.items()
        }
        balances[entity] += books.total(entity) - sum(balances.values(), ZERO)
        moved = _level(balances)
        if heads[entity].deleted and any((*held.values(), *balances.values())):
            self._result.undecided.append(
                f"{label} was deleted after the order table's restore time, and open orders refer to it: "
                "restore this ledger to an earlier time, or cancel these orders"
            )
            return
        is_divided = len(heads) > 1
        for name, head in heads.items():
            after = replace(head, balance=balances[name], held=held[name], settled=settled[name])
            if is_changed := after != head:
                self._result.cures.append(
                    Cure(
                        FIGURES,
                        self._table.head_label(name, is_divided=is_divided),
                        f"{format_amounts(head)} → {format_amounts(after)}",
                    )
                )
            advance = self._writes * len(heads) if name == entity else int(is_changed)
            if not advance:
                continue
            # An undivided head was last written with its last entry, and its history continues from there.
            time = clock() if is_divided else books.last.get(name, head.update_time)
            time = time if is_changed else head.update_time
            yield _update(self._table.key, name, replace(after, update_time=time), advance, moved[name])

    def _put(self, entry: Entry) -> None:
        try:
            self._writer.write([], [entry], clock())
        except WriteRefusedError as error:
            if not error.entries:
                raise CommandError(f"{self._table.name} is being written: stop its writers.") from error

    def _cure(self, kind: str, entry: Hold | Release) -> None:
        amounts = ", ".join(f"{amount:f} of {head}" for head, amount in entry.amounts.items())
        self._result.cures.append(
            Cure(kind, f"order {entry.order_id}", f"{self._table.noun}: {amounts or 'nothing held'}")
        )

    def _unclear(self, entities: Collection[str], what: str) -> None:
        self._books.unclear |= {*entities}
        self._result.undecided.append(f"{what}: not caused by the restore; see the runbook, tampering")


def _key(order_id: str) -> str:
    return f"{ORDER_PREFIX}{order_id}"


def _add(sums: dict[str, Decimal], name: str, amount: Decimal) -> None:
    sums[name] = sums.get(name, ZERO) + amount


def _level(balances: dict[str, Decimal]) -> dict[str, Decimal]:
    """Cover the shortage of some heads from the fullest others; returns the change of each."""
    moved = dict.fromkeys(balances, ZERO)
    for name in sorted(balances):
        while balances[name] < 0:
            fullest = max(balances, key=lambda each: balances[each])
            amount = min(-balances[name], balances[fullest])
            if amount <= 0:
                break  # the total is short, which is reported elsewhere
            for head, change in ((name, amount), (fullest, -amount)):
                balances[head] += change
                moved[head] += change
    return moved


def _update(key: str, name: str, after: Balance, advance: int, moved: Decimal) -> dict[str, Any]:
    """The write of one head, on condition that it still has the version `after.version`."""
    return {
        "Key": to_item({key: name, "entry": BALANCE_ENTRY}),
        "UpdateExpression": "SET balance = :balance, held = :held, settled = :settled, updateTime = :time, "
        "lastEntries = :entries ADD version :by, balanceVersion :one, transfers :moved",
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": to_item(
            {
                ":balance": after.balance,
                ":held": after.held,
                ":settled": after.settled,
                ":time": after.update_time,
                ":entries": {f"TRANSFER#restore-{clock()}": moved} if moved else {},
                ":by": advance,
                ":one": 1,
                ":moved": int(moved != 0),
                ":version": after.version,
            }
        ),
    }
