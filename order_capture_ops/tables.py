"""The raw tables: pages of items, and decoders for them.

The functions' adapters are not used, since an audit must find their mistakes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from order_capture.adapters.dynamodb.history_repository import item_of, record_from_item
from order_capture.adapters.dynamodb.ledger_repository import CLOSED, price_from
from order_capture.adapters.dynamodb.order_repository import timeline_from
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers import fields
from order_capture.adapters.serializers.check_results import check_result_from
from order_capture.adapters.serializers.order_details import order_details_from
from order_capture.domain.errors import OrderCaptureError
from order_capture.domain.history import HistoryRecord
from order_capture.domain.ledger import (
    ACCOUNTS,
    STOCK,
    ZERO,
    Adjustment,
    Balance,
    Entry,
    Hold,
    LedgerSpec,
    Release,
    idempotency_key_for,
)
from order_capture.domain.order import (
    CheckRecorded,
    CheckResult,
    CheckType,
    OrderDetails,
    OrderStatus,
    StatusChange,
)
from order_capture.domain.stripes import SEPARATOR, entity_of
from order_capture_ops.stack import Stack

BALANCE_ENTRY = "BALANCE"
CLOSING_ENTRY = "CLOSING"
ERASURE_ENTRY = "ERASURE"
MAX_STRIPES = 1000  # far more than a root is ever given
BATCH_KEYS = 100  # keys in one BatchGetItem call
IDEMPOTENCY_PREFIX = idempotency_key_for("")  # partition keys with it hold receipts, not ledgers
ORDER_PREFIX = "ORDER#"  # partition keys with it hold what an order holds and returned

UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OrderCaptureError)
"""Raised when decoding an item that is not as the functions write it."""


@dataclass(frozen=True)
class Closing:
    """The sums of a root's or stripe's deleted entries, whose books are closed.

    An ended order's entries add up to the amount that it `settled`, or to nothing.
    """

    adjusted: Decimal = ZERO
    settled: Decimal = ZERO
    is_erased: bool = False
    """Whether it belongs to an erased customer, whose history was deleted with the name."""


@dataclass(frozen=True)
class Table:
    """A table. Every read is strongly consistent."""

    client: Any
    name: str

    def size(self) -> int:
        """The approximate number of items: DynamoDB updates the count every six hours."""
        return int(self.client.describe_table(TableName=self.name)["Table"]["ItemCount"])

    def pages(self) -> Iterator[list[Item]]:
        """All items, a page (up to 1 MB) at a time; the items of a partition are consecutive."""
        paginator = self.client.get_paginator("scan")
        for page in paginator.paginate(TableName=self.name, ConsistentRead=True):
            yield page["Items"]

    def get(self, key: Mapping[str, str]) -> Item | None:
        """One item, or None."""
        response = self.client.get_item(TableName=self.name, Key=to_item(key), ConsistentRead=True)
        item: Item | None = response.get("Item")
        return item

    def get_many(self, keys: Iterable[Mapping[str, str]]) -> Iterator[Item]:
        """The items that exist, in any order. Keys must be unique."""
        remaining = [to_item(key) for key in keys]
        while remaining:
            batch, remaining = remaining[:BATCH_KEYS], remaining[BATCH_KEYS:]
            response = self.client.batch_get_item(
                RequestItems={self.name: {"Keys": batch, "ConsistentRead": True}}
            )
            yield from response["Responses"].get(self.name, [])
            # A throttled table may return a part of the batch, with HTTP 200.
            if unprocessed := response.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", []):
                remaining += unprocessed
                time.sleep(0.1)


@dataclass(frozen=True)
class LedgerTable(Table):
    """A ledger: the balances and entries of all its customers or products.

    Each balance item of a customer or product, its root and its stripes, has its own partition. The root's
    also has the adjustments. An order's hold and release are in the order's partition.
    """

    spec: LedgerSpec
    key: str
    noun: str

    def partitions(self) -> Iterator[list[list[Item]]]:
        """All items, a page at a time, by partition: an order's complete, the others possibly in parts."""
        begun: list[Item] = []
        for page in self.pages():
            groups = [list(group) for _, group in groupby([*begun, *page], key=self.partition)]
            begun = groups.pop() if groups and self.partition(groups[-1][0]).startswith(ORDER_PREFIX) else []
            yield groups
        if begun:
            yield [begun]

    def balance_items(self) -> Iterator[tuple[int, list[Item]]]:
        """All balance items, by page: the number of items scanned, and the balance items among them.

        DynamoDB also reads the entries, and bills them, but filters them out of the response.
        """
        paginator = self.client.get_paginator("scan")
        for page in paginator.paginate(
            TableName=self.name,
            FilterExpression="entry = :balance",
            ExpressionAttributeValues=to_item({":balance": BALANCE_ENTRY}),
            ConsistentRead=True,
        ):
            yield page["ScannedCount"], page["Items"]

    def heads(self, names: Iterable[str]) -> dict[str, Item]:
        """The balance items of these roots and stripes, if they exist."""
        keys = ({self.key: name, "entry": BALANCE_ENTRY} for name in names)
        return {self.partition(item): item for item in self.get_many(keys)}

    def closings(self, names: Iterable[str]) -> dict[str, Item]:
        """The closing items of these roots and stripes, if they exist."""
        keys = ({self.key: name, "entry": CLOSING_ENTRY} for name in names)
        return {self.partition(item): item for item in self.get_many(keys)}

    def closed_until(self) -> str:
        """The time until which the books are closed; "" if they never were."""
        partition, entry = CLOSED
        item = self.get({self.key: partition, "entry": entry})
        return _time(item["until"]["S"]) if item else ""

    def label(self, entity: str) -> str:
        """A customer's or product's name in a report."""
        return f"{self.noun} {entity}"

    def head_label(self, head: str, *, is_divided: bool = True) -> str:
        """A root's or stripe's name in a report; without stripes, the name of the customer or product."""
        entity, _, number = head.partition(SEPARATOR)
        if number:
            return f"{self.label(entity)}, stripe {number}"
        return f"{self.label(entity)}, root" if is_divided else self.label(entity)

    def partition(self, item: Item) -> str:
        """An item's partition key: of a root or stripe, of an order, or of a receipt."""
        return str(item[self.key]["S"])

    def holds(self, order_ids: Iterable[str]) -> dict[str, Hold]:
        """The readable holds of these orders, by order id."""
        found = {}
        keys = ({self.key: f"{ORDER_PREFIX}{each}", "entry": f"HOLD#{each}"} for each in order_ids)
        for item in self.get_many(keys):
            try:
                entry = self.read_entry(item)
            except UNREADABLE:
                continue
            if isinstance(entry, Hold):
                found[entry.order_id] = entry
        return found

    def read_entry(self, item: Item) -> Entry:
        """Decode an item other than a balance.

        Raises:
            UNREADABLE: it is malformed, or in the wrong partition.
        """
        values = from_item(item)
        partition, at = str(values[self.key]), str(values["time"])
        kind, _, entry_id = str(values["entry"]).partition("#")
        if kind == "ADJUST":
            if SEPARATOR in partition:
                raise ValueError(f"an adjustment in the partition {partition}")
            amount, after = _number(values["amount"]), _balance_from(values["after"])
            return Adjustment(partition, entry_id, amount, str(values["fingerprint"]), after, at)
        if kind not in ("HOLD", "RELEASE"):
            raise ValueError(f"unknown entry type: {kind}")
        if partition != f"{ORDER_PREFIX}{entry_id}":
            raise ValueError(f"it is in the partition {partition}")
        amounts = {str(head): _number(amount) for head, amount in values["amounts"].items()}
        if kind == "RELEASE":
            return Release(entry_id, amounts, at)
        return Hold(fields.text(values, "entity"), entry_id, amounts, check_result_from(values), at)


@dataclass(frozen=True)
class StoredOrder:
    """An order, decoded from its item."""

    status: OrderStatus
    details: OrderDetails
    checks: Mapping[CheckType, CheckResult]
    create_time: str
    correlation_id: str
    timeline: tuple[StatusChange | CheckRecorded, ...]

    @property
    def order_id(self) -> str:
        """The order's id."""
        return self.details.order_id

    @property
    def update_time(self) -> str:
        """The time of its last timeline entry."""
        return self.timeline[-1].time

    @property
    def transitions(self) -> list[StatusChange]:
        """Its statuses, in order."""
        return [step for step in self.timeline if isinstance(step, StatusChange)]

    @property
    def is_open(self) -> bool:
        """Whether its status is not terminal."""
        return self.status in (OrderStatus.PENDING, OrderStatus.CONFIRMED)

    def age(self) -> float:
        """Seconds since it was placed, by this machine's clock."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.create_time)).total_seconds()


@dataclass(frozen=True)
class OrderTable(Table):
    """The orders."""

    def orders(self, order_ids: Collection[str]) -> dict[str, StoredOrder | None]:
        """The orders that exist, by id; None for an unreadable one."""
        found = self.get_many({"orderId": order_id} for order_id in order_ids)
        return {item["orderId"]["S"]: read_order(item) for item in found if is_order(item)}


@dataclass(frozen=True, slots=True)
class Partition:
    """A decoded partition of a ledger: complete for an order, possibly a part for a root or stripe."""

    table: LedgerTable
    key: str
    head: Item | None
    balance: Balance | Exception | None
    """The head, or the reason why it can't be read."""
    entries: Sequence[Entry]
    unreadable: Sequence[tuple[Item, Exception]]
    order: StoredOrder | None
    """The partition's order, if it exists and can be read."""
    order_exists: bool
    size: int
    closing: Closing | None = None
    erasure: str = ""
    """When the erasure of the customer began."""

    def affected(self, item: Item) -> set[str]:
        """The customers and products that an unreadable entry may belong to, as far as known."""
        if not self.key.startswith(ORDER_PREFIX):
            return {entity_of(self.key)}
        names = {*item.get("amounts", {}).get("M", {}), item.get("entity", {}).get("S", "")}
        if self.order:
            names |= self.table.spec.required_amounts(self.order.details).keys()
        return {entity_of(name) for name in names if name} or {self.key}


@dataclass(frozen=True)
class HistoryTable(Table):
    """The history of both ledgers, decoded by the adapter that serves it to clients."""

    exists: bool = True
    """False for restored ledgers without a history, which is rebuilt once they are correct."""

    def records(self, ledger: LedgerTable, head: str, since: str = "") -> Iterator[HistoryRecord]:
        """All records of one root or stripe, or those since a time, oldest first.

        Raises:
            UNREADABLE: one is malformed.
        """
        if not self.exists:
            return
        paginator = self.client.get_paginator("query")
        for page in paginator.paginate(
            TableName=self.name,
            KeyConditionExpression="entity = :entity AND line >= :since",
            ExpressionAttributeValues=to_item({":entity": f"{ledger.key}#{head}", ":since": since or "0"}),
            ConsistentRead=True,
        ):
            yield from map(record_from_item, page["Items"])

    def histories(self) -> Iterator[tuple[str, list[Item]]]:
        """All histories, head by head: the partition key ("productId#pen#3"), and the items."""
        items = (item for page in self.pages() for item in page)
        for key, group in groupby(items, key=lambda item: str(item["entity"]["S"])):
            yield key, list(group)

    def add(self, ledger: LedgerTable, record: HistoryRecord) -> None:
        """Write a record if it does not exist; otherwise the conditional check fails."""
        self.client.put_item(
            TableName=self.name,
            Item=item_of(ledger.key, record),
            ConditionExpression="attribute_not_exists(line)",
        )

    def remove(self, ledger: LedgerTable, record: HistoryRecord) -> None:
        """Delete a record."""
        item = item_of(ledger.key, record)
        self.client.delete_item(TableName=self.name, Key={name: item[name] for name in ("entity", "line")})


@dataclass(frozen=True)
class Tables:
    """The tables of a stack."""

    orders: OrderTable
    accounts: LedgerTable
    stock: LedgerTable
    history: HistoryTable

    @property
    def ledgers(self) -> tuple[LedgerTable, LedgerTable]:
        """Both ledgers."""
        return self.accounts, self.stock

    def partitions(self, table: LedgerTable) -> Iterator[Partition]:
        """All of a ledger except the receipts, with the entries' orders, in one scan."""
        for page in table.partitions():
            groups = [(table.partition(group[0]), group) for group in page]
            order_ids = {key.removeprefix(ORDER_PREFIX) for key, _ in groups if key.startswith(ORDER_PREFIX)}
            orders = self.orders.orders(order_ids)
            closed = self._closed(table, groups, order_ids - orders.keys())
            for key, group in groups:
                if not key.startswith(IDEMPOTENCY_PREFIX) and key not in closed:
                    yield _partition(table, key, group, orders)

    def _closed(
        self, table: LedgerTable, groups: Iterable[tuple[str, list[Item]]], missing: Collection[str]
    ) -> set[str]:
        """The partitions of orders whose books were closed since the scan read them, and the mark's."""
        found = {CLOSED[0]}
        if missing:
            keys = {f"{ORDER_PREFIX}{order_id}" for order_id in missing}
            items = [item for key, group in groups if key in keys for item in group]
            wanted = [{name: item[name]["S"] for name in (table.key, "entry")} for item in items]
            found |= keys - {table.partition(item) for item in table.get_many(wanted)}
        return found

    @classmethod
    def of(cls, stack: Stack) -> Tables:
        """The tables of a stack."""
        client = stack.client("dynamodb")
        return cls(
            OrderTable(client, stack.output("OrderTableName")),
            LedgerTable(client, stack.output("AccountTableName"), ACCOUNTS, "customerId", "account"),
            LedgerTable(client, stack.output("StockTableName"), STOCK, "productId", "product"),
            HistoryTable(client, stack.output("HistoryTableName")),
        )


def _partition(
    table: LedgerTable, key: str, items: list[Item], orders: Mapping[str, StoredOrder | None]
) -> Partition:
    entries, unreadable = list[Entry](), list[tuple[Item, Exception]]()
    head: Item | None = None
    balance: Balance | Exception | None = None
    closing: Closing | None = None
    erasure = ""
    for item in sorted(items, key=lambda item: str(item["entry"]["S"])):  # a hold before its release
        if item["entry"]["S"] == BALANCE_ENTRY:
            head, balance = item, balance_or_error(item)
            continue
        try:
            if item["entry"]["S"] == CLOSING_ENTRY:
                closing = read_closing(item)
                continue
            if item["entry"]["S"] == ERASURE_ENTRY:
                erasure = _time(item["time"]["S"])
                continue
            entries.append(table.read_entry(item))
        except UNREADABLE as error:
            unreadable.append((item, error))
    order_id = key.removeprefix(ORDER_PREFIX)
    return Partition(
        table,
        key,
        head,
        balance,
        entries,
        unreadable,
        orders.get(order_id),
        order_id in orders,
        len(items),
        closing,
        erasure,
    )


def is_order(item: Item) -> bool:
    """Whether an item of the order table is an order, and not an idempotency record."""
    return "status" in item


def read_order(item: Item) -> StoredOrder | None:
    """Decode an order, or return None if it is malformed."""
    try:
        values = from_item(item)
        return StoredOrder(
            OrderStatus(values["status"]),
            order_details_from(values),
            {CheckType(check): check_result_from(result) for check, result in values["checks"].items()},
            _time(values["createTime"]),
            fields.text(values, "correlationId"),
            timeline_from(values),
        )
    except UNREADABLE:
        return None


def read_balance(item: Item) -> Balance:
    """Decode a balance item.

    Raises:
        UNREADABLE: it is malformed.
    """
    return _balance_from(from_item(item))


def read_closing(item: Item) -> Closing:
    """Decode a closing item.

    Raises:
        UNREADABLE: it is malformed.
    """
    values = from_item(item)
    adjusted, settled = (_number(values.get(name, ZERO)) for name in ("adjusted", "settled"))
    return Closing(adjusted, settled, "erased" in values)


def balance_or_error(item: Item) -> Balance | Exception:
    """Decode a balance item, or return the error."""
    try:
        return read_balance(item)
    except UNREADABLE as error:
        return error


def _balance_from(values: Mapping[str, Any]) -> Balance:
    balance, held, settled = (_number(values[name]) for name in ("balance", "held", "settled"))
    deleted = bool(_number(values.get("deleted", ZERO)))
    version, update_time = int(_number(values["version"])), str(values["updateTime"])
    stripes, transfers = (int(_number(values.get(name, ZERO))) for name in ("stripes", "transfers"))
    if not 0 <= stripes <= MAX_STRIPES:
        raise ValueError(f"{stripes} stripes")
    return Balance(
        balance,
        held,
        settled,
        version,
        update_time,
        deleted,
        price_from(values),
        stripes=stripes,
        transfers=transfers,
    )


def _number(value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise TypeError(f"expected a number, not {type(value).__name__}")
    return value


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with a UTC offset")
    return text
