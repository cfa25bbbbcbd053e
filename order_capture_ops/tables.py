"""The raw tables: pages of items, and decoders for them.

The functions' own adapters are not used for this, since an audit has to find their mistakes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from order_capture.adapters.dynamodb.history_repository import item_of, record_from_item
from order_capture.adapters.dynamodb.ledger_repository import price_from
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
from order_capture_ops.stack import Stack

BALANCE_ENTRY = "BALANCE"
BATCH_KEYS = 100  # keys in one BatchGetItem call
IDEMPOTENCY_PREFIX = idempotency_key_for("")  # partition keys with it hold idempotency records, not ledgers

UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OrderCaptureError)
"""Raised when decoding an item that is not as the functions write it."""


@dataclass(frozen=True)
class Table:
    """A table. Every read is strongly consistent."""

    client: Any
    name: str

    def size(self) -> int:
        """About how many items there are: DynamoDB updates the count every six hours."""
        return int(self.client.describe_table(TableName=self.name)["Table"]["ItemCount"])

    def pages(self) -> Iterator[list[Item]]:
        """All items, a page (up to 1 MB) at a time; the items of one partition come together."""
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
    """A ledger: the balances and entries of all its customers or products."""

    spec: LedgerSpec
    key: str
    noun: str

    def partition(self, entity: str) -> Iterator[list[Item]]:
        """The balance item and all entries of one customer or product, a page at a time."""
        paginator = self.client.get_paginator("query")
        for page in paginator.paginate(
            TableName=self.name,
            KeyConditionExpression=f"{self.key} = :entity",
            ExpressionAttributeValues=to_item({":entity": entity}),
            ConsistentRead=True,
        ):
            yield page["Items"]

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

    def label(self, entity: str) -> str:
        """A customer's or product's name in a report."""
        return f"{self.noun} {entity}"

    def entity(self, item: Item) -> str:
        """The customer or product of an item."""
        return str(item[self.key]["S"])

    def holds(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Hold]:
        """The readable holds with these keys (entity, order id)."""
        found = {}
        for item in self.get_many({self.key: entity, "entry": f"HOLD#{order}"} for entity, order in keys):
            try:
                entry = self.read_entry(item)
            except UNREADABLE:
                continue
            if isinstance(entry, Hold):
                found[entry.entity, entry.order_id] = entry
        return found

    def read_entry(self, item: Item) -> Entry:
        """Decode an item other than a balance.

        Raises:
            UNREADABLE: it is malformed.
        """
        values = from_item(item)
        entity, amount, at = str(values[self.key]), _number(values["amount"]), str(values["time"])
        kind, _, entry_id = str(values["entry"]).partition("#")
        match kind:
            case "HOLD":
                return Hold(entity, entry_id, amount, check_result_from(values), at)
            case "RELEASE":
                return Release(entity, entry_id, amount, at)
            case "ADJUST":
                after = _balance_from(values["after"])
                return Adjustment(entity, entry_id, amount, str(values["fingerprint"]), after, at)
        raise ValueError(f"unknown entry type: {kind}")


@dataclass(frozen=True)
class StoredOrder:
    """An order as its item has it."""

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
        """When something last happened to it."""
        return self.timeline[-1].time

    @property
    def transitions(self) -> list[StatusChange]:
        """The statuses that it came to, in order."""
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
        """The orders that exist, by id; None for one that can't be read."""
        found = self.get_many({"orderId": order_id} for order_id in order_ids)
        return {item["orderId"]["S"]: read_order(item) for item in found if is_order(item)}


@dataclass(frozen=True)
class HistoryTable(Table):
    """The history of both ledgers, decoded by the adapter that serves it to clients."""

    def records(self, ledger: LedgerTable, entity: str) -> Iterator[HistoryRecord]:
        """All records of one customer or product, oldest first.

        Raises:
            UNREADABLE: one is malformed.
        """
        paginator = self.client.get_paginator("query")
        for page in paginator.paginate(
            TableName=self.name,
            KeyConditionExpression="entity = :entity",
            ExpressionAttributeValues=to_item({":entity": f"{ledger.key}#{entity}"}),
            ConsistentRead=True,
        ):
            yield from map(record_from_item, page["Items"])

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


def _balance_from(values: Mapping[str, Any]) -> Balance:
    balance, held, settled = (_number(values[name]) for name in ("balance", "held", "settled"))
    deleted = bool(_number(values.get("deleted", ZERO)))
    version, update_time = int(_number(values["version"])), str(values["updateTime"])
    price = price_from(values)
    return Balance(balance, held, settled, version, update_time, deleted, price)


def _number(value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise TypeError(f"expected a number, not {type(value).__name__}")
    return value


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with a UTC offset")
    return text
