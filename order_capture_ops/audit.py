"""The audit: replays every ledger and compares it with the heads, with the orders and with its history.

The system runs on meanwhile, so the tables are read twice. A first pass streams through them, page by page,
and only collects what looks wrong. Each of those is then looked at again on its own, with a head that stood
still while its entries were read, and reported if it is wrong there too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from order_capture.adapters.dynamodb.types import Item
from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.domain.ledger import ZERO, Adjustment, Balance, Hold, Release, primary_entity, replay
from order_capture.domain.order import OrderStatus, Outcome
from order_capture_ops.history import UnknownError, UnreadableHistoryError, gap, missing_lines
from order_capture_ops.tables import (
    HEAD,
    RECEIPTS,
    UNREADABLE,
    LedgerTable,
    Order,
    OrderTable,
    Tables,
    is_order,
    read_head,
    read_order,
)

PATIENCE = 30.0
"""Seconds that what may still be on its way is given to arrive: a release behind a backlog of messages."""

_LOOKS = 2  # a single one could fall into the instant in which a transaction is written
_PAUSES = (0.2, 2.0)  # seconds between looks: the shortest and the longest
_TRIES = 5  # how often a ledger is read until its head stands still, in one look
_LATE = 60  # seconds that the message of a watch may itself be late

Tick = Callable[[str, int], None]
"""Told of progress: what is being read, and how much more of it has been."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as it must be. `passing` if it could be that it only is not so yet."""

    entity: str
    what: str
    expected: str
    found: str
    passing: bool = False


@dataclass
class Report:
    """What an audit saw."""

    accounts: int = 0
    products: int = 0
    deleted: int = 0
    """Customers and products that are no more; their books are audited like any other."""
    entries: int = 0
    orders: dict[str, int] = field(default_factory=dict)
    """How many there are of each status."""
    looked_again: int = 0
    differences: list[Difference] = field(default_factory=list)


def audit(
    tables: Tables, deadline: float, patience: float = PATIENCE, tick: Tick = lambda *_: None
) -> Report:
    """Read everything, and report what contradicts itself.

    Args:
        tables: those of the stack.
        deadline: seconds in which an order has to be decided.
        patience: seconds for which what may be on its way is looked at again.
        tick: is told of progress.
    """
    report = Report()
    suspects: dict[Suspect, None] = {}
    for table in tables.ledgers:
        entities: dict[str, None] = {}
        for entity in _suspect_entities(table, tables.orders, report, tick, entities):
            suspects[_Ledger(table, tables.orders, entity)] = None
        for entity in entities:
            # Of a ledger that is wrong itself, the history says nothing more.
            history = _History(tables, table, entity)
            if _Ledger(table, tables.orders, entity) not in suspects and history.look():
                suspects[history] = None
            tick(f"{table.noun} histories", 1)
    for order_id in _suspect_orders(tables, deadline, report, tick):
        suspects[_Order(tables, order_id, deadline)] = None
    report.looked_again = len(suspects)
    report.differences = _look_again(list(suspects), patience, tick)
    return report


# ----------------------------------------------------------------------------------------------- first pass
def _suspect_entities(
    table: LedgerTable, orders: OrderTable, report: Report, tick: Tick, entities: dict[str, None]
) -> Iterator[str]:
    """Those that look wrong; `entities` is told of all."""
    tally = None
    for page in table.pages():
        items = [item for item in page if not table.entity(item).startswith(RECEIPTS)]
        known = orders.orders(_order_ids(items))
        for item in items:
            if tally is None or tally.entity != table.entity(item):
                if tally is not None and tally.differences():
                    yield tally.entity
                tally = Tally(table, table.entity(item))
                entities[tally.entity] = None
            tally.add(item, known)
            if item["entry"]["S"] != HEAD:
                report.entries += 1
            elif item.get("deleted", {}).get("N", "0") != "0":
                report.deleted += 1
            elif table.noun == "account":
                report.accounts += 1
            else:
                report.products += 1
        tick(f"{table.noun} entries", len(page))
    if tally is not None and tally.differences():
        yield tally.entity


def _suspect_orders(tables: Tables, deadline: float, report: Report, tick: Tick) -> Iterator[str]:
    for page in tables.orders.pages():
        orders = {item["orderId"]["S"]: read_order(item) for item in page if is_order(item)}
        yield from _orders_differences(tables, orders, deadline)
        for order in orders.values():
            status = str(order.status) if order else "unreadable"
            report.orders[status] = report.orders.get(status, 0) + 1
        tick("orders", len(page))


# ------------------------------------------------------------------------------------------------- the rules
class Tally:
    """The entries of one customer or product, added up as they come by, and what they contradict.

    An order's hold comes before its release, since that is how their keys sort.
    """

    def __init__(self, table: LedgerTable, entity: str) -> None:
        self.entity = entity
        self._table = table
        self._label = table.label(entity)
        self._head: Balance | None = None
        self._balance = self._adjusted = self._held = self._settled = ZERO
        self._refused: dict[str, tuple[OrderStatus, Decimal]] = {}  # holds that must be released
        self._last: Balance | None = None  # what the last of the adjustments led to
        self._is_sure = True  # False: what an entry means could not be found out
        self._differences: list[Difference] = []

    def add(self, item: Item, orders: Mapping[str, Order | None]) -> None:
        """Take in an item. `orders` are those that exist (None: can't be read), of those that it names."""
        key = item["entry"]["S"]
        try:
            if key == HEAD:
                self._head = read_head(item)
                return
            entry = self._table.read_entry(item)
        except UNREADABLE as error:
            self._is_sure = False
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
        """What is wrong, once all items have been added."""
        found = list(self._differences)
        held = self._held
        for order_id, (status, amount) in self._refused.items():
            held += amount
            what = f"held for order {order_id}, which is {status}"
            found.append(Difference(self._label, what, "released", f"{amount:f}", passing=True))
        if self._head is None:
            if self._is_sure and any((self._balance, self._adjusted, held, self._settled)):
                found.append(Difference(self._label, "head", "there, since there are entries", "missing"))
            return found
        head = self._head
        figures = {"balance": head.balance, "held": head.held, "settled": head.settled}
        found += [
            Difference(self._label, name, "at least 0", f"{figure:f}")
            for name, figure in figures.items()
            if figure < 0
        ]
        if head.deleted:
            found += [
                Difference(self._label, f"{name} of what is deleted", "0", f"{figures[name]:f}")
                for name in ("balance", "held")
                if figures[name]
            ]
        price = self._last.price if self._last else None
        if head.price != price:
            what = "price (that of the last adjustment)"
            found.append(Difference(self._label, what, _price(price), _price(head.price)))
        comparisons = [
            ("balance (replayed from the entries)", self._balance, head.balance),
            ("balance + held + settled (the sum of all adjustments)", self._adjusted, sum(figures.values())),
        ]
        if self._is_sure:
            comparisons += [
                ("held (by orders that have not shipped)", held, head.held),
                ("settled (by orders that have shipped)", self._settled, head.settled),
            ]
        found += [
            Difference(self._label, what, f"{expected:f}", f"{actual:f}")
            for what, expected, actual in comparisons
            if expected != actual
        ]
        return found

    def _hold(self, hold: Hold, orders: Mapping[str, Order | None]) -> None:
        order = orders.get(hold.order_id)
        what = f"held for order {hold.order_id}"
        if order is None:
            self._is_sure = False
            state = "can't be read" if hold.order_id in orders else "does not exist"
            self._differ(f"{what}, which {state}", "nothing", hold.amount)
            return
        requested = self._table.kind.required_amounts(order.details).get(self.entity, ZERO)
        if hold.amount != requested:
            self._differ(what, requested, hold.amount)
        if order.status is OrderStatus.SHIPPED:
            self._settled += hold.amount
        elif order.is_open:
            self._held += hold.amount
        else:
            self._refused[hold.order_id] = (order.status, hold.amount)

    def _release(self, release: Release, orders: Mapping[str, Order | None]) -> None:
        order = orders.get(release.order_id)
        if order is None:
            self._is_sure = False
            self._differ(
                f"released for order {release.order_id}, which does not exist", "nothing", release.amount
            )
        elif release.order_id in self._refused:
            _, held = self._refused.pop(release.order_id)
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
    tables: Tables, orders: Mapping[str, Order | None], deadline: float
) -> dict[str, list[Difference]]:
    """What is wrong with each of the orders; those that are in order are left out."""
    found: dict[str, list[Difference]] = {}

    def differ(order_id: str, what: str, expected: str, actual: str) -> None:
        found.setdefault(order_id, []).append(Difference(f"order {order_id}", what, expected, actual))

    readable = {order_id: order for order_id, order in orders.items() if order}
    for order_id in orders.keys() - readable.keys():
        differ(order_id, "item", "as the functions write it", "unreadable")
    for table in tables.ledgers:
        check = table.kind.check
        demands = {
            order_id: table.kind.required_amounts(order.details) for order_id, order in readable.items()
        }
        holds = table.holds(
            (entity, order_id)
            for order_id, required_amounts in demands.items()
            for entity in required_amounts
        )
        for order_id, order in readable.items():
            answer = order.checks.get(check)
            outcome = answer.outcome if answer else None
            is_accepted = order.status in (OrderStatus.CONFIRMED, OrderStatus.SHIPPED)
            if is_accepted and outcome is not Outcome.HELD:
                differ(order_id, f"{check.lower()} check, as it is {order.status}", "HELD", str(outcome))
            if outcome is None and not is_accepted:
                continue
            # What is held is kept under each product, what is declined under the first alone.
            declined = outcome is Outcome.DECLINED and not is_accepted
            expected = Outcome.DECLINED if declined else Outcome.HELD
            for entity in [primary_entity(demands[order_id])] if declined else demands[order_id]:
                hold = holds.get((entity, order_id))
                if hold is None or hold.decision.outcome is not expected:
                    actual = str(hold.decision) if hold else "no entry"
                    differ(order_id, f"decision of {table.label(entity)}", str(expected), actual)
    for order_id, order in readable.items():
        age = order.age()
        # The look that ends it comes at most that much later: each waits twice as long as the one before.
        if order.is_open and age > deadline + min(deadline, MAX_DELAY_SECONDS) + _LATE:
            differ(
                order_id,
                "open past the deadline",
                f"over after {deadline:.0f} s",
                f"{order.status} for {age:.0f} s",
            )
    return found


# ----------------------------------------------------------------------------------------------- second look
@dataclass(frozen=True)
class _Ledger:
    """One customer or product that looked wrong."""

    table: LedgerTable
    orders: OrderTable
    entity: str

    def look(self) -> list[Difference]:
        """What is wrong with it now. Every change of a ledger changes its head's version as well."""
        key = {self.table.key: self.entity, "entry": HEAD}
        before = self.table.get(key)
        for _ in range(_TRIES):
            tally = Tally(self.table, self.entity)
            for page in self.table.partition(self.entity):
                known = self.orders.orders(_order_ids(page))
                for item in page:
                    tally.add(item, known)
            after = self.table.get(key)
            if after == before:
                return tally.differences()
            before = after
        label = self.table.label(self.entity)
        return [Difference(label, "head", "at rest for a moment", "changing all the time", passing=True)]


@dataclass(frozen=True)
class _Order:
    """One order that looked wrong."""

    tables: Tables
    order_id: str
    deadline: float

    def look(self) -> list[Difference]:
        """What is wrong with it now."""
        orders = self.tables.orders.orders([self.order_id])
        return _orders_differences(self.tables, orders, self.deadline).get(self.order_id, [])


@dataclass(frozen=True)
class _History:
    """One customer's or product's history that looked wrong."""

    tables: Tables
    table: LedgerTable
    entity: str

    def look(self) -> list[Difference]:
        """What is wrong with it now. What was written in the last minute may still be on its way into it."""
        label = self.table.label(self.entity)
        try:
            missing = missing_lines(self.tables, self.table, self.entity)
        except UnreadableHistoryError as error:
            return [Difference(label, "its history", "as the functions write it", str(error))]
        except UnknownError:
            return []  # which is for the ledger's own look to report
        if missing:
            what = "entries that its history does not have (rebuild-history writes them)"
            return [Difference(label, what, "0", str(len(missing)))]
        if found := gap(self.tables, self.table, self.entity):
            commit, head = found
            what = f"its history's balance, held and settled at {commit.time} (replayed from the line before)"
            return [Difference(label, what, _three(head), _three(commit.after))]
        return []


Suspect = _Ledger | _Order | _History


def _look_again(suspects: list[Suspect], patience: float, tick: Tick) -> list[Difference]:
    give_up = time.monotonic() + patience
    confirmed: list[Difference] = []
    attempts, (backoff, longest) = 0, _PAUSES
    while suspects:
        attempts += 1
        again = []
        for suspect in suspects:
            found = suspect.look()
            may_pass = any(each.passing for each in found) and time.monotonic() < give_up
            if found and (attempts < _LOOKS or may_pass):
                again.append(suspect)
            else:
                confirmed += found
            tick("second looks", 1)
        suspects = again
        if suspects:
            time.sleep(backoff)
            backoff = min(backoff * 1.5, longest)
    return confirmed


def _order_ids(items: Iterable[Item]) -> set[str]:
    keys = (item["entry"]["S"].partition("#") for item in items)
    return {order_id for kind, _, order_id in keys if kind in ("HOLD", "RELEASE")}


def _price(price: Decimal | None) -> str:
    return "none" if price is None else f"{price:f}"


def _three(head: Balance) -> str:
    return f"{head.balance:f}, {head.held:f}, {head.settled:f}"


def _text(value: Decimal | str) -> str:
    return value if isinstance(value, str) else f"{value:f}"
