"""The tables as they are: pages of raw items, and what they say.

Items are read here and not by the functions' own adapters: what an audit is to find may be their mistake.
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
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.check_results import check_result_from
from order_capture.adapters.serializers.fields import text, texts
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
from order_capture.domain.order import CheckResult, CheckType, OrderDetails, OrderStatus
from order_capture_ops.stack import Stack

HEAD = "BALANCE"
BATCH_KEYS = 100  # what DynamoDB's batch read takes in one call
RECEIPTS = idempotency_key_for("")  # how the keys of receipts begin; they are no ledgers

UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OrderCaptureError)
"""What reading an item raises that is not as the functions write it."""


@dataclass(frozen=True)
class Table:
    """A table, and how to read it. Every read is consistent: it sees all that was written before."""

    client: Any
    name: str

    def size(self) -> int:
        """About how many items there are: DynamoDB counts them every six hours."""
        return int(self.client.describe_table(TableName=self.name)["Table"]["ItemCount"])

    def pages(self) -> Iterator[list[Item]]:
        """All items, a page (up to 1 MB) at a time; those of one partition key come one after the other."""
        paginator = self.client.get_paginator("scan")
        for page in paginator.paginate(TableName=self.name, ConsistentRead=True):
            yield page["Items"]

    def get(self, key: Mapping[str, str]) -> Item | None:
        """One item, or None."""
        answer = self.client.get_item(TableName=self.name, Key=to_item(key), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def get_many(self, keys: Iterable[Mapping[str, str]]) -> Iterator[Item]:
        """Those of the items that exist, in any order. Every key may be named once."""
        left = [to_item(key) for key in keys]
        while left:
            batch, left = left[:BATCH_KEYS], left[BATCH_KEYS:]
            answer = self.client.batch_get_item(
                RequestItems={self.name: {"Keys": batch, "ConsistentRead": True}}
            )
            yield from answer["Responses"].get(self.name, [])
            # A batch may be answered in part, with HTTP 200, when the table is throttled.
            if unread := answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", []):
                left += unread
                time.sleep(0.1)


@dataclass(frozen=True)
class LedgerTable(Table):
    """A ledger: the heads and entries of all its customers or products."""

    kind: LedgerSpec
    key: str
    noun: str

    def partition(self, entity: str) -> Iterator[list[Item]]:
        """The head and all entries of one customer or product, a page at a time."""
        paginator = self.client.get_paginator("query")
        for page in paginator.paginate(
            TableName=self.name,
            KeyConditionExpression=f"{self.key} = :entity",
            ExpressionAttributeValues=to_item({":entity": entity}),
            ConsistentRead=True,
        ):
            yield page["Items"]

    def heads(self) -> Iterator[tuple[int, list[Item]]]:
        """All heads, a page of items at a time: how many items were read for it, and the heads among them.

        DynamoDB reads the entries as well, and bills them, but leaves them out of the answer.
        """
        paginator = self.client.get_paginator("scan")
        for page in paginator.paginate(
            TableName=self.name,
            FilterExpression="entry = :head",
            ExpressionAttributeValues=to_item({":head": HEAD}),
            ConsistentRead=True,
        ):
            yield page["ScannedCount"], page["Items"]

    def label(self, entity: str) -> str:
        """How a customer or product is called in a report."""
        return f"{self.noun} {entity}"

    def entity(self, item: Item) -> str:
        """Whose item it is."""
        return str(item[self.key]["S"])

    def head(self, entity: str) -> Balance | None:
        """How a customer or product stands."""
        item = self.get({self.key: entity, "entry": HEAD})
        return read_head(item) if item else None

    def holds(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Hold]:
        """The decisions kept under these (entity, order id), where there is one that can be read."""
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
        """What an item other than a head records.

        Raises:
            UNREADABLE: it is not as the functions write it.
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
                after = _head(values["after"])
                return Adjustment(entity, entry_id, amount, str(values["fingerprint"]), after, at)
        raise ValueError(f"no such entry: {kind}")


@dataclass(frozen=True)
class Order:
    """What an order's item says."""

    status: OrderStatus
    details: OrderDetails
    checks: Mapping[CheckType, CheckResult]
    create_time: str
    update_time: str
    correlation_id: str
    logs: tuple[str, ...]

    @property
    def order_id(self) -> str:
        """The id that the client was given."""
        return self.details.order_id

    @property
    def is_open(self) -> bool:
        """Whether it is not over yet."""
        return self.status in (OrderStatus.PENDING, OrderStatus.CONFIRMED)

    def age(self) -> float:
        """Seconds since it was placed, by this machine's clock."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.create_time)).total_seconds()


@dataclass(frozen=True)
class OrderTable(Table):
    """The orders."""

    def orders(self, order_ids: Collection[str]) -> dict[str, Order | None]:
        """Those of the orders that exist, by id; None for one that can't be read."""
        found = self.get_many({"orderId": order_id} for order_id in order_ids)
        return {item["orderId"]["S"]: read_order(item) for item in found if is_order(item)}


@dataclass(frozen=True)
class HistoryTable(Table):
    """The history of both ledgers. It is no part of the books, and is read as clients see it."""

    def lines(self, ledger: LedgerTable, entity: str) -> Iterator[HistoryRecord]:
        """All lines of one customer or product, oldest first.

        Raises:
            UNREADABLE: one is not as the functions write it.
        """
        paginator = self.client.get_paginator("query")
        for page in paginator.paginate(
            TableName=self.name,
            KeyConditionExpression="entity = :entity",
            ExpressionAttributeValues=to_item({":entity": f"{ledger.key}#{entity}"}),
            ConsistentRead=True,
        ):
            yield from map(record_from_item, page["Items"])

    def add(self, ledger: LedgerTable, line: HistoryRecord) -> None:
        """Write a line if it is not there; a conditional check fails if it is."""
        self.client.put_item(
            TableName=self.name,
            Item=item_of(ledger.key, line),
            ConditionExpression="attribute_not_exists(line)",
        )

    def remove(self, ledger: LedgerTable, line: HistoryRecord) -> None:
        """Take a line out."""
        item = item_of(ledger.key, line)
        self.client.delete_item(TableName=self.name, Key={name: item[name] for name in ("entity", "line")})


@dataclass(frozen=True)
class Tables:
    """Those of a stack."""

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
    """Whether an item of the order table is an order, and not the record of a request."""
    return "status" in item


def read_order(item: Item) -> Order | None:
    """The order in an item, or None if it is not as the functions write it."""
    try:
        values = from_item(item)
        return Order(
            OrderStatus(values["status"]),
            order_details_from(values),
            {CheckType(check): check_result_from(decision) for check, decision in values["checks"].items()},
            _time(values["createTime"]),
            _time(values["updateTime"]),
            text(values, "correlationId"),
            tuple(texts(values, "logs")),
        )
    except UNREADABLE:
        return None


def read_head(item: Item) -> Balance:
    """The head in an item.

    Raises:
        UNREADABLE: it is not as the functions write it.
    """
    return _head(from_item(item))


def _head(values: Mapping[str, Any]) -> Balance:
    balance, held, settled = (_number(values[figure]) for figure in ("balance", "held", "settled"))
    deleted = bool(_number(values.get("deleted", ZERO)))
    version, update_time = int(_number(values["version"])), str(values["updateTime"])
    price = price_from(values)
    return Balance(balance, held, settled, version, update_time, deleted, price)


def _number(value: object) -> Decimal:
    if not isinstance(value, Decimal):
        raise TypeError(f"a number expected, not {type(value).__name__}")
    return value


def _time(moment: str) -> str:
    if datetime.fromisoformat(moment).tzinfo is None:
        raise ValueError("a time with its zone expected")
    return moment
