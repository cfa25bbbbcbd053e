"""Find all data that a stack holds about a customer, and export it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import botocore.exceptions

from order_capture.adapters import system
from order_capture.adapters.dynamodb.order_repository import CUSTOMER_INDEX
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.domain.stripes import head_names
from order_capture_ops.errors import CommandError
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack
from order_capture_ops.tables import (
    BALANCE_ENTRY,
    MAX_STRIPES,
    ORDER_PREFIX,
    UNREADABLE,
    LedgerTable,
    Table,
    Tables,
    read_balance,
)

SCHEMA = "urn:order-capture:customer-export:1"
"""Described in docs/reference/customer-export.md. Removing a field requires a new version."""

SECRETS = ("secret", "previousSecret")
"""Secrets that sign webhooks. They are left out, since exports are shared."""

_INTERNAL = (
    "runningUntil",
    "fingerprint",
    "stillOpen",
    "lastEntries",
    "listed",
    "balanceVersion",
    "transfers",
)


@dataclass
class CustomerData:
    """Everything that is stored under a customer's id, as items."""

    customer_id: str
    user: dict[str, Any] | None = None
    account: list[Item] = field(default_factory=list)
    """The balance items, root and stripes, and everything else in their partitions."""
    orders: list[Item] = field(default_factory=list)
    entries: dict[str, list[Item]] = field(default_factory=dict)
    """The account ledger's entries, by order id."""
    history: list[Item] = field(default_factory=list)
    webhooks: list[Item] = field(default_factory=list)
    """Webhooks, deliveries, and the state of their receivers."""
    order_keys: list[Item] = field(default_factory=list)
    """Records of idempotency keys in OrderTable that repeat an order of the customer."""
    webhook_keys: list[Item] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    @property
    def stripes(self) -> int:
        """The account's number of stripes."""
        return max((stripes_of(item) for item in self.account), default=0)

    @property
    def counts(self) -> dict[str, int]:
        """The number of items of each kind."""
        return {
            "user": 1 if self.user else 0,
            "account items": len(self.account),
            "orders": len(self.orders),
            "history records": len(self.history),
            "webhook items": len(self.webhooks),
            "idempotency records": len(self.order_keys) + len(self.webhook_keys),
            "subscribed connections": len(self.connections),
        }


@dataclass(frozen=True)
class CustomerTables:
    """The tables that hold data by customer."""

    tables: Tables
    webhooks: Table
    connections: Table

    @classmethod
    def of(cls, stack: Stack) -> CustomerTables:
        """The tables of a stack."""
        client = stack.client("dynamodb")
        return cls(
            Tables.of(stack),
            Table(client, stack.output("WebhookTableName")),
            Table(client, stack.output("ConnectionTableId")),
        )


def collect(stack: Stack, customer_id: str, on_progress: ProgressCallback = lambda *_: None) -> CustomerData:
    """Read everything that is stored under a customer's id."""
    all_tables = CustomerTables.of(stack)
    tables, accounts = all_tables.tables, all_tables.tables.accounts
    data = CustomerData(customer_id, user=find_user(stack, customer_id))
    data.orders = orders_of(tables, customer_id)
    on_progress("orders", len(data.orders))
    keys = [
        {accounts.key: f"{ORDER_PREFIX}{order_id}", "entry": f"{kind}#{order_id}"}
        for order_id in (item["orderId"]["S"] for item in data.orders)
        for kind in ("HOLD", "RELEASE")
    ]
    for item in accounts.get_many(keys):
        data.entries.setdefault(item[accounts.key]["S"].removeprefix(ORDER_PREFIX), []).append(item)
    data.account = account_items(accounts, customer_id)
    for name in head_names(customer_id, data.stripes):
        data.history += query(tables.history, "entity", f"{accounts.key}#{name}")
    on_progress("history records", len(data.history))
    data.webhooks = query(all_tables.webhooks, "customerId", customer_id)
    # Records are stored by idempotency key, which is unknown here: only a scan finds a customer's records.
    for table, found in ((tables.orders, data.order_keys), (all_tables.webhooks, data.webhook_keys)):
        for page, scanned in _answers_of(table, customer_id):
            found += page
            on_progress("items scanned", scanned)
    followers = all_tables.connections.get({"followed": f"customer#{customer_id}", "connectionId": "*"})
    data.connections = sorted((followers or {}).get("connections", {"SS": []})["SS"])
    return data


def orders_of(tables: Tables, customer_id: str) -> list[Item]:
    """A customer's orders, oldest first. One that was placed a moment ago may be missing."""
    paginator = tables.orders.client.get_paginator("query")
    pages = paginator.paginate(
        TableName=tables.orders.name,
        IndexName=CUSTOMER_INDEX,
        KeyConditionExpression="customerId = :customer",
        ExpressionAttributeValues=to_item({":customer": customer_id}),
    )
    ids = [item["orderId"]["S"] for page in pages for item in page["Items"]]
    found = tables.orders.get_many({"orderId": order_id} for order_id in ids)
    # The index lags behind the table: an order may be deleted, or be another customer's by now.
    current = [item for item in found if item.get("customerId") == {"S": customer_id}]
    return sorted(current, key=lambda item: str(item["createTime"]["S"]))


def account_items(accounts: LedgerTable, customer_id: str) -> list[Item]:
    """All items in the partitions of a customer and of the account's stripes."""
    items = query(accounts, accounts.key, customer_id)
    for item in items:
        for name in head_names(customer_id, stripes_of(item))[1:]:
            items = [*items, *query(accounts, accounts.key, name)]
    return items


def stripes_of(item: Item) -> int:
    """The number of stripes in a balance item; 0 for any other item."""
    if item["entry"]["S"] != BALANCE_ENTRY:
        return 0
    try:
        return min(read_balance(item).stripes, MAX_STRIPES)
    except UNREADABLE:
        return 0


def query(table: Table, key: str, value: str) -> list[Item]:
    """All items of a partition."""
    paginator = table.client.get_paginator("query")
    pages = paginator.paginate(
        TableName=table.name,
        KeyConditionExpression="#key = :value",
        ExpressionAttributeNames={"#key": key},
        ExpressionAttributeValues=to_item({":value": value}),
        ConsistentRead=True,
    )
    return [item for page in pages for item in page["Items"]]


def find_user(stack: Stack, customer_id: str) -> dict[str, Any] | None:
    """The customer's user in the pool: its name is the customer's id (decision 0028)."""
    pool = stack.client("cognito-idp")
    try:
        found = pool.admin_get_user(UserPoolId=stack.output("UserPoolId"), Username=customer_id)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "UserNotFoundException":
            return None
        raise
    return {
        "username": found["Username"],
        "status": found.get("UserStatus", ""),
        "createTime": found["UserCreateDate"].isoformat() if "UserCreateDate" in found else "",
        "attributes": {each["Name"]: each.get("Value", "") for each in found.get("UserAttributes", [])},
    }


def export_customer(
    stack: Stack, customer_id: str, output: Path, on_progress: ProgressCallback = lambda *_: None
) -> CustomerData:
    """Write all data about a customer to a JSON file that only its owner can read.

    Raises:
        CommandError: there is no data, or the file can't be written.
    """
    data = collect(stack, customer_id, on_progress)
    if not any(data.counts.values()):
        raise CommandError(f"There is no data about a customer {customer_id}.")
    document = as_document(stack, data)
    temporary = output.with_name(f"{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2, ensure_ascii=False)
            file.write("\n")
        temporary.replace(output)
    except OSError as error:
        raise CommandError(f"OUTPUT: {output} can't be written: {error.strerror}.") from error
    return data


def as_document(stack: Stack, data: CustomerData) -> dict[str, Any]:
    """The export, in the format of docs/reference/customer-export.md."""
    name = "customerId"
    heads = [item for item in data.account if item["entry"]["S"] == BALANCE_ENTRY]
    others = [item for item in data.account if item["entry"]["S"] != BALANCE_ENTRY]
    webhooks: dict[str, list[dict[str, Any]]] = {"webhooks": [], "deliveries": [], "receivers": []}
    for item in data.webhooks:
        kind = item["entry"]["S"].partition("#")[0]
        part = {"WEBHOOK": "webhooks", "DELIVERY": "deliveries"}.get(kind, "receivers")
        webhooks[part].append(_values(item))
    return {
        "schema": SCHEMA,
        "stack": stack.name,
        "exportTime": system.clock(),
        name: data.customer_id,
        "user": data.user,
        "account": {
            "balances": [_values(item) for item in heads],
            "entries": [_values(item) for item in others],
        },
        "accountHistory": [_values(item) for item in data.history],
        "orders": [
            {**_values(item), "accountEntries": [*map(_values, data.entries.get(item["orderId"]["S"], []))]}
            for item in data.orders
        ],
        **webhooks,
        "idempotencyRecords": [_values(item) for item in (*data.order_keys, *data.webhook_keys)],
        "connections": data.connections,
    }


def _answers_of(table: Table, customer_id: str) -> Iterator[tuple[Sequence[Item], int]]:
    paginator = table.client.get_paginator("scan")
    for page in paginator.paginate(
        TableName=table.name,
        FilterExpression="answer.customerId = :customer",
        ExpressionAttributeValues=to_item({":customer": customer_id}),
        ConsistentRead=True,
    ):
        yield page["Items"], page["ScannedCount"]


def _values(item: Item) -> dict[str, Any]:
    sets = {name: sorted(value["SS"]) for name, value in item.items() if "SS" in value}
    return {name: sets.get(name, _plain(value)) for name, value in from_item(item).items() if _is_shown(name)}


def _is_shown(name: str) -> bool:
    return name not in (*SECRETS, *_INTERNAL)


def _plain(value: Any) -> Any:
    """A DynamoDB value as JSON, without secrets and without attributes that are internal to the functions."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items() if _is_shown(name)}
        case list():
            return [_plain(each) for each in value]
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
    return value
