"""The audit: replay every ledger, and compare it with its balance, the orders and its history.

The system keeps running meanwhile, so there are two passes. The first scans the tables and collects suspects.
The second checks each suspect on its own, with a balance that did not change while its entries were read, and
reports what is still wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from order_capture.adapters.dynamodb.types import Item
from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.domain.ledger import ZERO, Adjustment, Balance, Hold, Release, primary_entity, replay
from order_capture.domain.order import OrderStatus, Outcome
from order_capture_ops.history import IncompleteLedgerError, UnreadableHistoryError, find_gap, missing_records
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.tables import (
    BALANCE_ENTRY,
    IDEMPOTENCY_PREFIX,
    UNREADABLE,
    LedgerTable,
    OrderTable,
    StoredOrder,
    Tables,
    is_order,
    read_balance,
    read_order,
)

GRACE_PERIOD = 30.0
"""Seconds to wait for changes that are still in progress, such as a release behind a backlog of messages."""

_MIN_CHECKS = 2  # a single check could run while a transaction is being written
_BACKOFF_SECONDS = (0.2, 2.0)  # between checks: the shortest and the longest
_MAX_ATTEMPTS = 5  # reads of a ledger in one check, until its balance does not change meanwhile
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
    entries: int = 0
    orders: dict[str, int] = field(default_factory=dict)
    """How many orders there are of each status."""
    rechecked: int = 0
    differences: list[Difference] = field(default_factory=list)


def audit(
    tables: Tables,
    deadline: float,
    grace_period: float = GRACE_PERIOD,
    on_progress: ProgressCallback = lambda *_: None,
) -> AuditReport:
    """Read everything, and report contradictions.

    Args:
        tables: the stack's tables.
        deadline: seconds within which an order must be decided.
        grace_period: seconds to keep rechecking differences that a change in progress could resolve.
        on_progress: is called with what is being read.
    """
    report = AuditReport()
    suspects: dict[Suspect, None] = {}
    for table in tables.ledgers:
        entities: dict[str, None] = {}
        for entity in _suspect_entities(table, tables.orders, report, on_progress, entities):
            suspects[_SuspectLedger(table, tables.orders, entity)] = None
        for entity in entities:
            # If the ledger itself is wrong, its history says nothing more.
            history = _SuspectHistory(tables, table, entity)
            if _SuspectLedger(table, tables.orders, entity) not in suspects and history.check():
                suspects[history] = None
            on_progress(f"{table.noun} histories", 1)
    for order_id in _suspect_orders(tables, deadline, report, on_progress):
        suspects[_SuspectOrder(tables, order_id, deadline)] = None
    report.rechecked = len(suspects)
    report.differences = _recheck(list(suspects), grace_period, on_progress)
    return report


# ----------------------------------------------------------------------------------------------- first pass
def _suspect_entities(
    table: LedgerTable,
    orders: OrderTable,
    report: AuditReport,
    on_progress: ProgressCallback,
    entities: dict[str, None],
) -> Iterator[str]:
    """The entities that look wrong; all entities are added to `entities`."""
    auditor = None
    for page in table.pages():
        items = [item for item in page if not table.entity(item).startswith(IDEMPOTENCY_PREFIX)]
        known_orders = orders.orders(_order_ids(items))
        for item in items:
            if auditor is None or auditor.entity != table.entity(item):
                if auditor is not None and auditor.differences():
                    yield auditor.entity
                auditor = LedgerAuditor(table, table.entity(item))
                entities[auditor.entity] = None
            auditor.add(item, known_orders)
            if item["entry"]["S"] != BALANCE_ENTRY:
                report.entries += 1
            elif item.get("deleted", {}).get("N", "0") != "0":
                report.deleted += 1
            elif table.noun == "account":
                report.accounts += 1
            else:
                report.products += 1
        on_progress(f"{table.noun} entries", len(page))
    if auditor is not None and auditor.differences():
        yield auditor.entity


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
class LedgerAuditor:
    """Audit the ledger of one customer or product, entry by entry.

    An order's hold must be added before its release, which is the order of their sort keys.
    """

    def __init__(self, table: LedgerTable, entity: str) -> None:
        self.entity = entity
        self._table = table
        self._label = table.label(entity)
        self._current: Balance | None = None
        self._balance = self._adjusted = self._held = self._settled = ZERO
        self._to_release: dict[str, tuple[OrderStatus, Decimal]] = {}  # holds of refused orders
        self._last: Balance | None = None  # the balance after the last adjustment
        self._is_complete = True  # False: an entry could not be interpreted
        self._differences: list[Difference] = []

    def add(self, item: Item, orders: Mapping[str, StoredOrder | None]) -> None:
        """Add an item. `orders` has the existing orders that it refers to, None for unreadable ones."""
        key = item["entry"]["S"]
        try:
            if key == BALANCE_ENTRY:
                self._current = read_balance(item)
                return
            entry = self._table.read_entry(item)
        except UNREADABLE as error:
            self._is_complete = False
            self._differ(f"item {key}", "as the functions write it", f"{type(error).__name__}: {error}")
            return
        self._balance += replay([entry])
        match entry:
            case Adjustment():
                self._adjusted += entry.amount
                if self._last is None or self._last.version < entry.after.version:
                    self._last = entry.after
            case Hold() if entry.decision.outcome is Outcome.HELD:
                self._hold(entry, orders)
            case Hold():
                if entry.amount:
                    self._differ(f"declined for order {entry.order_id}", ZERO, entry.amount)
            case Release():
                self._release(entry, orders)

    def differences(self) -> list[Difference]:
        """All differences, once every item has been added."""
        found = list(self._differences)
        held = self._held
        for order_id, (status, amount) in self._to_release.items():
            held += amount
            what = f"held for order {order_id}, which is {status}"
            found.append(Difference(self._label, what, "released", f"{amount:f}", transient=True))
        if self._current is None:
            if self._is_complete and any((self._balance, self._adjusted, held, self._settled)):
                found.append(Difference(self._label, "balance item", "present, as it has entries", "missing"))
            return found
        current = self._current
        amounts = {"balance": current.balance, "held": current.held, "settled": current.settled}
        found += [
            Difference(self._label, name, "at least 0", f"{amount:f}")
            for name, amount in amounts.items()
            if amount < 0
        ]
        if current.deleted:
            found += [
                Difference(self._label, f"{name}, as it is deleted", "0", f"{amounts[name]:f}")
                for name in ("balance", "held")
                if amounts[name]
            ]
        price = self._last.price if self._last else None
        if current.price != price:
            what = "price (of the last adjustment)"
            found.append(Difference(self._label, what, _format_price(price), _format_price(current.price)))
        comparisons = [
            ("balance (replayed from the entries)", self._balance, current.balance),
            ("balance + held + settled (the sum of all adjustments)", self._adjusted, sum(amounts.values())),
        ]
        if self._is_complete:
            comparisons += [
                ("held (by orders that have not shipped)", held, current.held),
                ("settled (by orders that have shipped)", self._settled, current.settled),
            ]
        found += [
            Difference(self._label, what, f"{expected:f}", f"{actual:f}")
            for what, expected, actual in comparisons
            if expected != actual
        ]
        return found

    def _hold(self, hold: Hold, orders: Mapping[str, StoredOrder | None]) -> None:
        order = orders.get(hold.order_id)
        what = f"held for order {hold.order_id}"
        if order is None:
            self._is_complete = False
            state = "can't be read" if hold.order_id in orders else "does not exist"
            self._differ(f"{what}, which {state}", "nothing", hold.amount)
            return
        requested = self._table.spec.required_amounts(order.details).get(self.entity, ZERO)
        if hold.amount != requested:
            self._differ(what, requested, hold.amount)
        if order.status is OrderStatus.SHIPPED:
            self._settled += hold.amount
        elif order.is_open:
            self._held += hold.amount
        else:
            self._to_release[hold.order_id] = (order.status, hold.amount)

    def _release(self, release: Release, orders: Mapping[str, StoredOrder | None]) -> None:
        order = orders.get(release.order_id)
        if order is None:
            self._is_complete = False
            self._differ(
                f"released for order {release.order_id}, which does not exist", "nothing", release.amount
            )
        elif release.order_id in self._to_release:
            _, held = self._to_release.pop(release.order_id)
            if release.amount != held:
                self._differ(f"released for order {release.order_id}", held, release.amount)
        else:
            why = (
                f"is {order.status}"
                if order.is_open or order.status is OrderStatus.SHIPPED
                else "held nothing"
            )
            self._differ(f"released for order {release.order_id}, which {why}", "nothing", release.amount)

    def _differ(self, what: str, expected: Decimal | str, found: Decimal | str) -> None:
        self._differences.append(Difference(self._label, what, _text(expected), _text(found)))


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
        holds = table.holds(
            (entity, order_id) for order_id, amounts in required.items() for entity in amounts
        )
        for order_id, order in readable.items():
            result = order.checks.get(check)
            outcome = result.outcome if result else None
            is_accepted = order.status in (OrderStatus.CONFIRMED, OrderStatus.SHIPPED)
            if is_accepted and outcome is not Outcome.HELD:
                differ(order_id, f"{check.lower()} check, as it is {order.status}", "HELD", str(outcome))
            if outcome is None and not is_accepted:
                continue
            # Each product has its own HELD entry, but only the primary one has a DECLINED entry.
            declined = outcome is Outcome.DECLINED and not is_accepted
            expected = Outcome.DECLINED if declined else Outcome.HELD
            for entity in [primary_entity(required[order_id])] if declined else required[order_id]:
                hold = holds.get((entity, order_id))
                if hold is None or hold.decision.outcome is not expected:
                    actual = str(hold.decision) if hold else "no entry"
                    differ(order_id, f"check result of {table.label(entity)}", str(expected), actual)
    for order_id, order in readable.items():
        age = order.age()
        # The watchdog doubles its delay each time, so the check that ends the order may be this much later.
        if order.is_open and age > deadline + min(deadline, MAX_DELAY_SECONDS) + _MAX_WATCHDOG_LAG:
            differ(
                order_id,
                "open past the deadline",
                f"ended after {deadline:.0f} s",
                f"{order.status} for {age:.0f} s",
            )
    return found


# ----------------------------------------------------------------------------------------------- second pass
@dataclass(frozen=True)
class _SuspectLedger:
    """A ledger that looked wrong."""

    table: LedgerTable
    orders: OrderTable
    entity: str

    def check(self) -> list[Difference]:
        """Its differences now. Every change of a ledger also changes the version of its balance."""
        key = {self.table.key: self.entity, "entry": BALANCE_ENTRY}
        before = self.table.get(key)
        for _ in range(_MAX_ATTEMPTS):
            auditor = LedgerAuditor(self.table, self.entity)
            for page in self.table.partition(self.entity):
                known_orders = self.orders.orders(_order_ids(page))
                for item in page:
                    auditor.add(item, known_orders)
            after = self.table.get(key)
            if after == before:
                return auditor.differences()
            before = after
        label = self.table.label(self.entity)
        return [
            Difference(label, "balance item", "unchanged during one read", "always changing", transient=True)
        ]


@dataclass(frozen=True)
class _SuspectOrder:
    """An order that looked wrong."""

    tables: Tables
    order_id: str
    deadline: float

    def check(self) -> list[Difference]:
        """Its differences now."""
        orders = self.tables.orders.orders([self.order_id])
        return _orders_differences(self.tables, orders, self.deadline).get(self.order_id, [])


@dataclass(frozen=True)
class _SuspectHistory:
    """A history that looked wrong."""

    tables: Tables
    table: LedgerTable
    entity: str

    def check(self) -> list[Difference]:
        """Its differences now, except for the last minute: these records may not be written yet."""
        label = self.table.label(self.entity)
        try:
            missing = missing_records(self.tables, self.table, self.entity)
        except UnreadableHistoryError as error:
            return [Difference(label, "its history", "as the functions write it", str(error))]
        except IncompleteLedgerError:
            return []  # the check of the ledger reports it
        if missing:
            what = "entries missing from its history (rebuild-history writes them)"
            return [Difference(label, what, "0", str(len(missing)))]
        if gap := find_gap(self.tables, self.table, self.entity):
            commit, expected = gap
            what = f"its history's balance, held and settled at {commit.time} (replayed from the one before)"
            return [Difference(label, what, _format_balance(expected), _format_balance(commit.after))]
        return []


Suspect = _SuspectLedger | _SuspectOrder | _SuspectHistory


def _recheck(suspects: list[Suspect], grace_period: float, on_progress: ProgressCallback) -> list[Difference]:
    deadline = time.monotonic() + grace_period
    confirmed: list[Difference] = []
    attempts, (backoff, longest) = 0, _BACKOFF_SECONDS
    while suspects:
        attempts += 1
        again = []
        for suspect in suspects:
            found = suspect.check()
            may_resolve = any(each.transient for each in found) and time.monotonic() < deadline
            if found and (attempts < _MIN_CHECKS or may_resolve):
                again.append(suspect)
            else:
                confirmed += found
            on_progress("rechecks", 1)
        suspects = again
        if suspects:
            time.sleep(backoff)
            backoff = min(backoff * 1.5, longest)
    return confirmed


def _order_ids(items: Iterable[Item]) -> set[str]:
    keys = (item["entry"]["S"].partition("#") for item in items)
    return {order_id for kind, _, order_id in keys if kind in ("HOLD", "RELEASE")}


def _format_price(price: Decimal | None) -> str:
    return "none" if price is None else f"{price:f}"


def _format_balance(balance: Balance) -> str:
    return f"{balance.balance:f}, {balance.held:f}, {balance.settled:f}"


def _text(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:f}"
