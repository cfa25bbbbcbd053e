"""The audit: replay every ledger, and compare it with its balances, the orders and its history.

The system keeps running meanwhile, so there are two passes. The first scans each table once and collects
suspects. The second rescans a ledger for all its suspects together, until it has a consistent view of each,
and reports what is still wrong.

A customer or product is the sum of its heads: a root, and stripes if it is hot. Amounts held by orders are
compared per head. Adjustments and the replayed balance are compared in total, since transfers between heads
leave no entry.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from order_capture.adapters.dynamodb.types import Item
from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.domain.ledger import ZERO, Adjustment, Balance, Hold, Release, primary_entity
from order_capture.domain.order import OrderStatus, Outcome
from order_capture.domain.stripes import SEPARATOR, entity_of, head_names, is_stripe
from order_capture.domain.times import after as seconds_after
from order_capture_ops.history import (
    MIN_AGE_SECONDS,
    HeadLedger,
    HeadLedgers,
    HistorySurvey,
    IncompleteLedgerError,
    UnreadableHistoryError,
    commits_of,
    contradictions,
    find_gap,
    format_amounts,
    history_records,
    missing_records,
    old_enough,
    open_commits,
    surplus_entries,
)
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import (
    UNREADABLE,
    Closing,
    LedgerTable,
    Partition,
    StoredOrder,
    Tables,
    balance_or_error,
    is_order,
    read_balance,
    read_closing,
    read_order,
)

GRACE_PERIOD = 30.0
"""Seconds to wait for changes in progress, such as a release behind a backlog of messages."""

_MIN_CHECKS = 2  # a single check could run while a transaction is being written
_BACKOFF_SECONDS = (0.2, 2.0)  # between checks: the shortest and the longest
_MAX_READS = 10  # of the heads of one customer or product, until there was no transfer meanwhile
_HISTORY_ATTEMPTS = 3  # reads of a head's history, which lags by a second or two
_MAX_COMMITS = 10_000  # of a head during one scan; their records are read
_MAX_WATCHDOG_LAG = 60  # seconds that the watchdog's message may be late


@dataclass(frozen=True)
class Difference:
    """A contradiction. `transient` if a change in progress could resolve it."""

    entity: str
    what: str
    expected: str
    found: str
    transient: bool = False


@dataclass
class AuditReport:
    """The result of an audit."""

    accounts: int = 0
    products: int = 0
    deleted: int = 0
    """Deleted customers and products; their ledgers are audited like all others."""
    stripes: int = 0
    """Stripes of all accounts and products together."""
    entries: int = 0
    orders: dict[str, int] = field(default_factory=dict)
    """The number of orders by status."""
    closed_until: str = ""
    """The time until which the books are closed; "" if they never were."""
    rechecked: int = 0
    differences: list[Difference] = field(default_factory=list)


def audit(
    tables: Tables,
    deadline: float,
    grace_period: float = GRACE_PERIOD,
    on_progress: ProgressCallback = lambda *_: None,
) -> AuditReport:
    """Read all tables, and report contradictions.

    Args:
        tables: the stack's tables.
        deadline: seconds within which an order must be decided.
        grace_period: seconds to keep rechecking differences that a change in progress could resolve.
        on_progress: is called with what is being read.
    """
    report = AuditReport()
    closed = {table.key: table.closed_until() for table in tables.ledgers}
    report.closed_until = max(closed.values())
    survey = HistorySurvey(old_enough(), closed)
    wrong = {
        table: _first_pass(tables, table, report, survey, on_progress).wrong() for table in tables.ledgers
    }
    histories: Mapping[LedgerTable, set[str]] = (
        survey.suspects(tables, on_progress)
        if tables.history.exists
        else {table: set() for table in tables.ledgers}
    )
    order_ids = list(_suspect_orders(tables, deadline, report, on_progress))
    suspects: list[Suspects] = [
        *(_SuspectLedger(tables, table, wrong[table], histories[table]) for table in tables.ledgers),
        _SuspectOrders(tables, order_ids, deadline),
    ]
    report.rechecked = sum(len(each.names) for each in suspects)
    report.differences = _recheck(suspects, grace_period, on_progress)
    return report


# ----------------------------------------------------------------------------------------------- first pass
def _first_pass(
    tables: Tables,
    table: LedgerTable,
    report: AuditReport,
    survey: HistorySurvey,
    on_progress: ProgressCallback,
) -> LedgerBooks:
    books = LedgerBooks(table)
    for partition in tables.partitions(table):
        books.add(partition)
        survey.add(partition)
        report.entries += len(partition.entries) + len(partition.unreadable)
        if partition.head is None:
            pass
        elif is_stripe(partition.key):
            report.stripes += 1
        elif partition.head.get("deleted", {}).get("N", "0") != "0":
            report.deleted += 1
        elif table.noun == "account":
            report.accounts += 1
        else:
            report.products += 1
        on_progress(f"{table.noun} entries", partition.size)
    return books


def _suspect_orders(
    tables: Tables, deadline: float, report: AuditReport, on_progress: ProgressCallback
) -> Iterator[str]:
    for page in tables.orders.pages():
        orders = {item["orderId"]["S"]: read_order(item) for item in page if is_order(item)}
        yield from _orders_differences(tables, orders, deadline)
        for order in orders.values():
            status = str(order.status) if order else "unreadable"
            report.orders[status] = report.orders.get(status, 0) + 1
        on_progress("orders", len(page))


# ------------------------------------------------------------------------------------------------- the rules
Later = Mapping[str, Collection[str]]
"""Keys of entries, by head, that were written after the head was read: they are not counted."""


@dataclass(frozen=True, slots=True)
class _OrderEntries:
    """A ledger's entries for one order, and the order."""

    order_id: str
    hold: Hold | None
    release: Release | None
    order: StoredOrder | None

    @property
    def time(self) -> str:
        """The time of the last change that may have affected a head."""
        return max(
            each
            for each in (
                self.hold.time if self.hold else "",
                self.release.time if self.release else "",
                self.order.update_time if self.order else "",
            )
        )


class LedgerAuditor:
    """Audit one customer or product: its heads, and the entries that changed them."""

    __slots__ = (
        "_adjusted",
        "_balance",
        "_differences",
        "_erasure",
        "_held",
        "_is_complete",
        "_label",
        "_last",
        "_recent",
        "_settled",
        "_table",
        "_to_release",
        "_unreadable",
        "entity",
        "heads",
    )

    def __init__(self, table: LedgerTable, entity: str) -> None:
        self.entity = entity
        self.heads: dict[str, Balance] = {}
        self._table = table
        self._label = table.label(entity)
        self._balance = self._adjusted = ZERO
        self._held: dict[str, Decimal] = {}  # by head
        self._settled: dict[str, Decimal] = {}
        self._to_release: dict[str, tuple[OrderStatus, Decimal]] = {}  # holds of refused orders
        self._last: Balance | None = None  # the balance after the last adjustment
        self._is_complete = True  # False: an entry could not be interpreted
        self._unreadable: frozenset[str] = frozenset()  # heads
        self._recent: list[Adjustment | _OrderEntries] = []
        self._differences: list[Difference] = []
        self._erasure = ""

    @property
    def head_names(self) -> set[str]:
        """All heads that exist or should exist."""
        root = self.heads.get(self.entity)
        expected = head_names(self.entity, root.stripes if root else 0)
        return {*expected, *self.heads, *self._unreadable, *self._held, *self._settled}

    def add_head(self, name: str, balance: Balance | Exception) -> None:
        """Add the balance of the root or of a stripe, or the reason why it can't be read."""
        if isinstance(balance, Balance):
            self.heads[name] = balance
        else:
            self._unreadable |= {name}
            self._unread(self._head_label(name), "BALANCE", balance)

    def add_closing(self, name: str, closing: Closing) -> None:
        """Add the sums of a root's or stripe's closed entries."""
        self._adjusted += closing.adjusted
        self._balance += closing.adjusted - closing.settled
        self._settled[name] = self._settled.get(name, ZERO) + closing.settled

    def add_erasure(self, since: str) -> None:
        """Record that the customer is being erased: the items change one after the other."""
        self._erasure = since

    def add_unreadable(self, key: str, error: Exception) -> None:
        """Add an entry that can't be decoded."""
        self._is_complete = False
        self._unread(self._label, key, error)

    def add(self, each: Adjustment | _OrderEntries, *, may_be_later: bool = False) -> None:
        """Add an adjustment, or an order's hold and release; it may be newer than the heads."""
        if isinstance(each, _OrderEntries):
            self._check(each)
        if may_be_later:
            self._recent.append(each)
        else:
            self._count(each, {})

    def differences(self, later: Later | None = None) -> list[Difference]:
        """All differences, once everything was added; changes after the heads were read are ignored."""
        for each in self._recent:
            self._count(each, later or {})
        self._recent.clear()
        if self._erasure:
            what, expected = "erasure", "finished: run make erase-customer again"
            return [Difference(self._label, what, expected, f"begun at {self._erasure}", transient=True)]
        found = list(self._differences)
        for order_id, (status, amount) in self._to_release.items():
            what = f"held for order {order_id}, which is {status}"
            found.append(Difference(self._label, what, "released", f"{amount:f}", transient=True))
        root = self.heads.get(self.entity)
        if root is None and self.entity not in self._unreadable:
            stripes = sorted(each for each in self.heads if is_stripe(each))
            if self._is_complete and (
                stripes or any((self._balance, self._adjusted, *self._held.values(), *self._settled.values()))
            ):
                why = f"it has {_stripes(len(stripes))}" if stripes else "it has entries"
                found.append(self._difference(self.entity, "balance item", f"present, as {why}", "missing"))
            if not stripes:
                return found
        for name in sorted(self.head_names, key=_by_number):
            found += self._head_differences(name, root)
        if root is not None:
            found += self._marks(root)
        if not self._unreadable and self.heads:
            found += self._totals()
        return found

    def _head_differences(self, name: str, root: Balance | None) -> Iterator[Difference]:
        head = self.heads.get(name)
        if root and name not in head_names(self.entity, root.stripes):
            what, expected = "number of the stripe", f"1 to {root.stripes}" if root.stripes else "none"
            yield self._difference(name, what, expected, name.partition(SEPARATOR)[2])
        elif head is None and name != self.entity and name not in self._unreadable:
            why = f"its root has {_stripes(root.stripes)}" if root else "orders hold something on it"
            yield self._difference(name, "balance item", f"present, as {why}", "missing")
        if head is None:
            return
        figures = {"balance": head.balance, "held": head.held, "settled": head.settled}
        for what, amount in figures.items():
            if amount < 0:
                yield self._difference(name, what, "at least 0", f"{amount:f}")
            if head.deleted and amount and what != "settled":
                yield self._difference(name, f"{what}, as it is deleted", "0", f"{amount:f}")
        if root and is_stripe(name):
            if head.deleted is not root.deleted:
                yield self._difference(name, "deleted (as its root)", f"{root.deleted}", f"{head.deleted}")
            if head.price != root.price:
                expected, actual = _format_price(root.price), _format_price(head.price)
                yield self._difference(name, "price (as its root)", expected, actual)
        if self._is_complete:
            for what, by_orders, actual_amount in (
                ("held (by orders that have not shipped)", self._held, head.held),
                ("settled (by orders that have shipped)", self._settled, head.settled),
            ):
                if (amount := by_orders.get(name, ZERO)) != actual_amount:
                    yield self._difference(name, what, f"{amount:f}", f"{actual_amount:f}")

    def _marks(self, root: Balance) -> Iterator[Difference]:
        """Compare the root's price and deletion mark with those of the last adjustment."""
        price = self._last.price if self._last else None
        if root.price != price:
            what, expected, actual = "price", _format_price(price), _format_price(root.price)
            yield self._difference(self.entity, f"{what} (of the last adjustment)", expected, actual)
        if self._last and root.deleted is not self._last.deleted:
            expected, actual = f"{self._last.deleted}", f"{root.deleted}"
            yield self._difference(self.entity, "deleted (by the last adjustment)", expected, actual)

    def _totals(self) -> Iterator[Difference]:
        heads = self.heads.values()
        balance = sum((head.balance for head in heads), ZERO)
        everything = balance + sum((head.held + head.settled for head in heads), ZERO)
        for what, expected, actual in (
            ("balance (replayed from the entries)", self._balance, balance),
            ("balance + held + settled (the sum of all adjustments)", self._adjusted, everything),
        ):
            if expected != actual:
                yield Difference(self._label, what, f"{expected:f}", f"{actual:f}")

    def _check(self, each: _OrderEntries) -> None:
        """Check that an order holds exactly what it requires, and that exactly this was released."""
        order, hold, release = each.order, each.hold, each.release
        held = self._amount_of(hold)
        if hold and not hold.is_held:
            if held:
                self._differ(f"declined for order {hold.order_id}", ZERO, held)
        elif hold and order:
            required = self._table.spec.required_amounts(order.details).get(self.entity, ZERO)
            if held != required:
                self._differ(f"held for order {hold.order_id}", required, held)
        if hold and order and hold.entity == self.entity:
            primary = primary_entity(self._table.spec.required_amounts(order.details))
            if primary != hold.entity:
                self._differ(f"entity of the hold of order {hold.order_id}", primary, hold.entity)
        if release and order:
            what = f"released for order {release.order_id}"
            returned = self._amount_of(release)
            if order.is_open or order.status is OrderStatus.SHIPPED:
                self._differ(f"{what}, which is {order.status}", "nothing", returned)
            elif not (hold and hold.is_held):
                self._differ(f"{what}, which held nothing", "nothing", returned)
            else:
                for head in sorted(each for each in {*hold.amounts, *release.amounts} if self._is_own(each)):
                    before, after = (amounts.get(head, ZERO) for amounts in (hold.amounts, release.amounts))
                    if before != after:
                        self._differ(what, before, after, head)

    def lacks_order(self, entry: Hold | Release, *, exists: bool) -> None:
        """Report that an entry's order does not exist, or can't be read."""
        self._is_complete = False
        verb = "held" if isinstance(entry, Hold) else "released"
        state = "can't be read" if exists else "does not exist"
        what = f"{verb} for order {entry.order_id}, which {state}"
        self._differ(what, "nothing", self._amount_of(entry))

    def _count(self, each: Adjustment | _OrderEntries, later: Later) -> None:
        """Add up the changes made to the heads before they were read."""
        if isinstance(each, Adjustment):
            if each.key not in later.get(self.entity, ()):
                self._adjusted += each.amount
                self._balance += each.amount
                if self._last is None or self._last.version < each.after.version:
                    self._last = each.after
            return
        order, hold, release = each.order, each.hold, each.release
        is_shipped = order is not None and order.status is OrderStatus.SHIPPED
        is_refused = order is not None and not order.is_open and not is_shipped
        if hold and hold.is_held:
            if order and is_refused and release is None:
                self._to_release[each.order_id] = (order.status, self._amount_of(hold))
            for head, amount in hold.amounts.items():
                keys = later.get(head, ())
                if not self._is_own(head) or hold.key in keys:
                    continue
                self._balance -= amount
                if is_shipped and f"SETTLE#{each.order_id}" not in keys:
                    self._settled[head] = self._settled.get(head, ZERO) + amount
                elif order:
                    self._held[head] = self._held.get(head, ZERO) + amount
        elif hold:
            self._balance -= self._amount_of(hold)
        if release:
            for head, amount in release.amounts.items():
                if not self._is_own(head) or release.key in later.get(head, ()):
                    continue
                self._balance += amount
                if is_refused and hold and hold.is_held:
                    self._held[head] = self._held.get(head, ZERO) - amount

    def _is_own(self, head: str) -> bool:
        return entity_of(head) == self.entity

    def _amount_of(self, entry: Hold | Release | None) -> Decimal:
        amounts = entry.amounts if entry else {}
        return sum((amount for head, amount in amounts.items() if self._is_own(head)), ZERO)

    def _head_label(self, name: str) -> str:
        root = self.heads.get(self.entity)
        is_divided = bool(root and root.stripes) or any(is_stripe(each) for each in self.heads)
        return self._table.head_label(name, is_divided=is_divided)

    def _difference(self, head: str, what: str, expected: str, found: str) -> Difference:
        return Difference(self._head_label(head), what, expected, found)

    def _differ(
        self, what: str, expected: Decimal | str, found: Decimal | str, head: str | None = None
    ) -> None:
        label = self._head_label(head) if head and is_stripe(head) else self._label
        self._differences.append(Difference(label, what, _text(expected), _text(found)))

    def _unread(self, label: str, key: str, error: Exception) -> None:
        found = f"{type(error).__name__}: {error}"
        self._differences.append(Difference(label, f"item {key}", "as the functions write it", found))


class LedgerBooks:
    """The auditors of a ledger's customers and products: all, or only some."""

    def __init__(
        self, table: LedgerTable, entities: Collection[str] | None = None, recent: str | None = None
    ) -> None:
        """Changes newer than `recent` may have come after the heads were read; heads are added first."""
        self.auditors: dict[str, LedgerAuditor] = {}
        self._table = table
        self._entities = entities
        self._recent = recent

    def auditor(self, entity: str) -> LedgerAuditor:
        """The auditor of a customer or product."""
        if entity not in self.auditors:
            self.auditors[entity] = LedgerAuditor(self._table, entity)
        return self.auditors[entity]

    def add(self, partition: Partition) -> None:
        """Add a partition's items."""
        if (
            partition.balance
            and self._recent is None
            and self._is_audited(entity := entity_of(partition.key))
        ):
            self.auditor(entity).add_head(partition.key, partition.balance)
        if partition.closing and self._recent is None and self._is_audited(entity_of(partition.key)):
            self.auditor(entity_of(partition.key)).add_closing(partition.key, partition.closing)
        if partition.erasure and self._is_audited(partition.key):
            self.auditor(partition.key).add_erasure(partition.erasure)
        for item, error in partition.unreadable:
            for entity in filter(self._is_audited, partition.affected(item)):
                self.auditor(entity).add_unreadable(item["entry"]["S"], error)
        hold = release = None
        for entry in partition.entries:
            match entry:
                case Adjustment():
                    if self._is_audited(entry.entity):
                        self.auditor(entry.entity).add(entry, may_be_later=self._is_recent(entry.time))
                case Hold():
                    hold = entry
                case Release():
                    release = entry
        if hold or release:
            self._add_order(partition, hold, release)

    def wrong(self) -> dict[str, set[str]]:
        """The customers and products that look wrong, and the heads that each has or should have."""
        return {
            entity: auditor.head_names for entity, auditor in self.auditors.items() if auditor.differences()
        }

    def _add_order(self, partition: Partition, hold: Hold | None, release: Release | None) -> None:
        entries = [entry for entry in (hold, release) if entry]
        concerned = {entity_of(head) for entry in entries for head in entry.amounts}
        if hold:
            concerned.add(hold.entity)
            if partition.order and hold.is_held:
                concerned |= self._table.spec.required_amounts(partition.order.details).keys()
        order_id = entries[0].order_id
        each = _OrderEntries(order_id, hold, release, partition.order)
        for entity in filter(self._is_audited, concerned):
            auditor = self.auditor(entity)
            if partition.order is None:
                for entry in entries:
                    if isinstance(entry, Release) or entry.is_held:
                        auditor.lacks_order(entry, exists=partition.order_exists)
            auditor.add(each, may_be_later=self._is_recent(each.time))

    def _is_audited(self, entity: str) -> bool:
        return self._entities is None or entity in self._entities

    def _is_recent(self, at: str) -> bool:
        return self._recent is not None and at > self._recent


def _orders_differences(
    tables: Tables, orders: Mapping[str, StoredOrder | None], deadline: float
) -> dict[str, list[Difference]]:
    """The differences of each order that has any."""
    found: dict[str, list[Difference]] = {}

    def differ(order_id: str, what: str, expected: str, actual: str) -> None:
        found.setdefault(order_id, []).append(Difference(f"order {order_id}", what, expected, actual))

    readable = {order_id: order for order_id, order in orders.items() if order}
    for order_id in orders.keys() - readable.keys():
        differ(order_id, "item", "as the functions write it", "unreadable")
    for table in tables.ledgers:
        check = table.spec.check
        required = {
            order_id: table.spec.required_amounts(order.details) for order_id, order in readable.items()
        }
        holds = table.holds(required)
        for order_id, order in readable.items():
            result = order.checks.get(check)
            outcome = result.outcome if result else None
            is_accepted = order.status in (OrderStatus.CONFIRMED, OrderStatus.SHIPPED)
            if is_accepted and outcome is not Outcome.HELD:
                differ(order_id, f"{check.lower()} check, as it is {order.status}", "HELD", str(outcome))
            if outcome is None and not is_accepted:
                continue
            declined = outcome is Outcome.DECLINED and not is_accepted
            expected = Outcome.DECLINED if declined else Outcome.HELD
            hold = holds.get(order_id)
            if hold is None or hold.decision.outcome is not expected:
                label = table.label(primary_entity(required[order_id]))
                actual = str(hold.decision) if hold else "no entry"
                differ(order_id, f"check result of {label}", str(expected), actual)
    for order_id, order in readable.items():
        age = order.age()
        # The watchdog doubles its delay each time, so the check that expires the order may be this much
        # later.
        if order.is_open and age > deadline + min(deadline, MAX_DELAY_SECONDS) + _MAX_WATCHDOG_LAG:
            differ(
                order_id,
                "open past the deadline",
                f"ended after {deadline:.0f} s",
                f"{order.status} for {age:.0f} s",
            )
    return found


# ----------------------------------------------------------------------------------------------- second pass
class Suspect(NamedTuple):
    """Something that looked wrong: an order, a customer or product, or the history of a head."""

    name: str
    is_history: bool = False


class _SuspectLedger:
    """The customers, products and histories of a ledger that looked wrong."""

    def __init__(
        self, tables: Tables, table: LedgerTable, heads: Mapping[str, Collection[str]], histories: set[str]
    ) -> None:
        """`heads` are those that each customer or product has or should have."""
        self.names = [
            *(Suspect(entity) for entity in sorted(heads)),
            *(Suspect(head, is_history=True) for head in sorted(histories)),
        ]
        self._tables = tables
        self._table = table
        self._known_heads = heads

    def check(
        self, names: Collection[Suspect], on_progress: ProgressCallback
    ) -> Mapping[Suspect, list[Difference]]:
        """Their differences now: one scan of the ledger for all of them.

        Their heads are read first. Later changes, which the history identifies, are ignored.
        """
        entities = [each.name for each in names if not each.is_history]
        until = old_enough()
        books = LedgerBooks(self._table, {*entities}, until)
        heads_of_histories = [each.name for each in names if each.is_history]
        collected = HeadLedgers(self._table, heads_of_histories, self._table.closed_until())
        before = self._read_heads(entities)
        closings = self._read_closings(before)
        for name, item in closings.items():
            with suppress(*UNREADABLE):  # an unreadable one is reported with the partition's
                books.auditor(entity_of(name)).add_closing(name, read_closing(item))
        for entity, heads in before.items():
            for name, item in heads.items():
                books.auditor(entity).add_head(name, balance_or_error(item))
        for partition in self._tables.partitions(self._table):
            books.add(partition)
            collected.add(partition)
            on_progress("rechecked entries", partition.size)
        found = {
            Suspect(entity): self._differences(books.auditor(entity), before.get(entity))
            for entity in entities
        }
        after = self._read_closings(before)
        for name in {*closings, *after}:
            entity = entity_of(name)
            if found[Suspect(entity)] and closings.get(name) != after.get(name):
                label = self._table.label(entity)
                busy = Difference(
                    label, "books", "unchanged while they are read", "being closed", transient=True
                )
                found[Suspect(entity)] = [busy]
        for head, ledger in collected.ledgers.items():
            # If the ledger itself is wrong, its history adds no information.
            if not found.get(Suspect(entity_of(head))):
                found[Suspect(head, is_history=True)] = self._history_differences(ledger, until)
        return found

    def _read_closings(self, heads: Mapping[str, Mapping[str, Item]]) -> dict[str, Item]:
        return self._table.closings({name for entity, of_one in heads.items() for name in (entity, *of_one)})

    def _read_heads(self, entities: Collection[str]) -> dict[str, dict[str, Item]]:
        """A consistent read of each customer's or product's heads: no amount is counted on two of them.

        Customers and products with continuous transfers between their heads are missing.
        """
        found: dict[str, dict[str, Item]] = {}
        names = {entity: {entity, *self._known_heads[entity]} for entity in entities}
        before: dict[str, dict[str, Item]] = {}
        for _ in range(_MAX_READS):
            items = self._table.heads(name for of_one in names.values() for name in of_one)
            heads = {
                entity: {name: items[name] for name in of_one if name in items}
                for entity, of_one in names.items()
            }
            for entity, of_one in heads.items():
                expected = _expected_heads(entity, of_one)
                is_whole = expected <= names[entity]
                if is_whole and entity in before and _transfers(before[entity]) == _transfers(of_one):
                    found[entity] = of_one
                    del names[entity]
                else:
                    names[entity] |= expected
            if not names:
                break
            before = heads
        return found

    def _differences(self, auditor: LedgerAuditor, before: dict[str, Item] | None) -> list[Difference]:
        later = None if before is None else self._later(auditor.entity, before)
        if later is None:
            label, what = self._table.label(auditor.entity), "balance item"
            return [Difference(label, what, "unchanged during one read", "always changing", transient=True)]
        found = auditor.differences(later)
        if found and len(auditor.heads) > 1:
            # Only the histories show which of several heads is wrong.
            for name in sorted(auditor.heads, key=_by_number):
                found += self._contradictions(name)
        return found

    def _later(self, entity: str, before: Mapping[str, Item]) -> Later | None:
        """The changes after the heads were read; None if they can't be determined."""
        later: dict[str, Collection[str]] = {}
        after = self._table.heads({*before, entity, *self._known_heads[entity]})
        if _expected_heads(entity, before) != _expected_heads(entity, after):
            return None  # it was divided meanwhile
        for name in before.keys() | after.keys():
            if before.get(name) == after.get(name):
                continue
            keys = self._changes_between(name, before.get(name), after.get(name))
            if keys is None:
                return None
            later[name] = keys
        return later

    def _changes_between(self, name: str, before: Item | None, after: Item | None) -> set[str] | None:
        """The keys of the entries that changed a head, if its history has all of its commits."""
        try:
            old, new = read_balance(before or {}), read_balance(after or {})
        except UNREADABLE:
            return None
        versions = set(range(old.version + 1, new.version + 1))
        if not versions or len(versions) > _MAX_COMMITS:
            return None
        for attempt in range(_HISTORY_ATTEMPTS):
            if attempt:
                time.sleep(_BACKOFF_SECONDS[1])
            with suppress(*UNREADABLE):
                since = seconds_after(old.update_time, -MIN_AGE_SECONDS)
                records = self._tables.history.records(self._table, name, since)
                commits = [commit for commit in commits_of(records) if commit.after.version in versions]
                if {commit.after.version for commit in commits} == versions:
                    return {change.key for commit in commits for change in commit.changes}
        return None

    def _history_differences(self, ledger: HeadLedger, until: str) -> list[Difference]:
        """Differences in a head's history, except in the last minute: its records may not be written yet."""
        label = self._table.head_label(ledger.head, is_divided=ledger.stripes > 0)
        try:
            missing = missing_records(self._tables, self._table, ledger, until)
            records = history_records(self._tables, self._table, ledger.head)
            commits = open_commits(records, ledger.closed_until)
        except UnreadableHistoryError as error:
            return [Difference(label, "its history", "as the functions write it", str(error))]
        except IncompleteLedgerError:
            return []  # the check of the ledger reports it
        if missing:
            what = "entries missing from its history (rebuild-history writes them)"
            return [Difference(label, what, "0", str(len(missing)))]
        if gap := find_gap(commits, ledger.closed_until):
            commit, expected = gap
            what = f"its history's balance, held and settled at {commit.time} (replayed from the one before)"
            return [Difference(label, what, format_amounts(expected), format_amounts(commit.after))]
        if surplus := surplus_entries(ledger, commits, until):
            what = "entries in its history that are missing from the ledger, or have another amount"
            return [Difference(label, what, "none", ", ".join(surplus))]
        return self._contradictions(ledger.head)

    def _contradictions(self, name: str) -> list[Difference]:
        """Where a head differs from the result of its history."""
        try:
            commits = commits_of(history_records(self._tables, self._table, name))
            head = read_balance(self._table.heads([name])[name])
        except (UnreadableHistoryError, *UNREADABLE):
            return []  # reported as such
        is_divided = is_stripe(name) or head.stripes > 0
        label = self._table.head_label(name, is_divided=is_divided)
        return [Difference(label, *each) for each in contradictions(head, commits)]


class _SuspectOrders:
    """Orders that looked wrong."""

    def __init__(self, tables: Tables, order_ids: Iterable[str], deadline: float) -> None:
        self.names = [Suspect(order_id) for order_id in order_ids]
        self._tables = tables
        self._deadline = deadline

    def check(
        self, names: Collection[Suspect], on_progress: ProgressCallback
    ) -> Mapping[Suspect, list[Difference]]:
        """Their differences now."""
        orders = self._tables.orders.orders([each.name for each in names])
        on_progress("orders", len(orders))
        found = _orders_differences(self._tables, orders, self._deadline)
        return {Suspect(order_id): differences for order_id, differences in found.items()}


Suspects = _SuspectLedger | _SuspectOrders


def _recheck(
    suspects: Iterable[Suspects], grace_period: float, on_progress: ProgressCallback
) -> list[Difference]:
    deadline = time.monotonic() + grace_period
    confirmed: list[Difference] = []
    attempts, (backoff, longest) = 0, _BACKOFF_SECONDS
    remaining = [(each, list(each.names)) for each in suspects if each.names]
    while remaining:
        attempts += 1
        undecided = []
        for group, names in remaining:
            found = group.check(names, on_progress)
            again = []
            for name in names:
                differences = found.get(name, [])
                may_resolve = any(each.transient for each in differences) and time.monotonic() < deadline
                if differences and (attempts < _MIN_CHECKS or may_resolve):
                    again.append(name)
                else:
                    confirmed += differences
                on_progress("rechecks", 1)
            if again:
                undecided.append((group, again))
        remaining = undecided
        if remaining:
            time.sleep(backoff)
            backoff = min(backoff * 1.5, longest)
    return confirmed


def _expected_heads(entity: str, items: Mapping[str, Item]) -> set[str]:
    """The names of all heads of a customer or product, by its root."""
    with suppress(*UNREADABLE):
        return {*head_names(entity, read_balance(items[entity]).stripes)}
    return {entity}


def _transfers(items: Mapping[str, Item]) -> dict[str, object]:
    """The number of transfers of each head."""
    return {name: item.get("transfers") for name, item in items.items()}


def _by_number(head: str) -> tuple[int, str]:
    """The order of heads in a report: the root first, then its stripes by number."""
    number = head.partition(SEPARATOR)[2]
    return (int(number) if number.isdecimal() else 0), head


def _stripes(number: int) -> str:
    return "1 stripe" if number == 1 else f"{number} stripes"


def _format_price(price: Decimal | None) -> str:
    return "none" if price is None else f"{price:f}"


def _text(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:f}"
