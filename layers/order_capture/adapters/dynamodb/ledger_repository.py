"""A ledger of holds in a DynamoDB table: the heads and the entries of all its customers or products.

Key: `customerId` or `productId`, and `entry`: "BALANCE" for a head, else the entry's own key. A partition is
a customer or product (its root and adjustments), one of its stripes ("shirt#7"), or an order ("ORDER#…").
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from order_capture.adapters.aws_errors import BUSY, unavailable_as_transient
from order_capture.adapters.dynamodb.transactions import busy, conflicted, refused, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.check_results import check_result_from, check_result_values
from order_capture.adapters.serializers.fields import integer, mapping, number, text, time
from order_capture.application.ports import WriteRefusedError
from order_capture.application.retry import Retry
from order_capture.domain.errors import TransientError, UnreadableError
from order_capture.domain.ledger import (
    ACCOUNTS,
    ADJUSTMENT,
    UNPRICED,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    Hold,
    Release,
    aggregate,
)
from order_capture.domain.stripes import Heads, entity_of, head_names

logger = logging.getLogger(__name__)

BALANCE_ENTRY = "BALANCE"
CLOSED = ("CLOSED#", "CLOSED")
"""Key of the item with the time until which the books are closed. Customer and product ids have no "#"."""
LIST_INDEX = "ListIndex"
LISTED = "BALANCE"
"""The index's only partition key. Only roots have it: stripes and entries are not in the index."""
MAX_BATCH_KEYS = 100
"""Items that one BatchGetItem reads (DynamoDB API reference)."""


class DynamoLedgerRepository:
    """Implements `application.ports.LedgerRepository`."""

    def __init__(self, client: Any, table: str, key: str, retry: Retry) -> None:
        """`key` is the name of the table's partition key."""
        self._client = client
        self._table = table
        self._key = key
        self._retry = retry

    def head(self, entity: str) -> Balance | None:  # noqa: D102 - see the port
        item = self._get(entity, BALANCE_ENTRY)
        return balance_from(from_item(item)) if item else None

    def heads(self, entity: str, stripes: int = 0) -> Heads:  # noqa: D102
        if not stripes:
            root = self.head(entity)
            if root is None or not root.stripes:
                return {entity: root} if root else {}
            stripes = root.stripes
        keys = [(name, BALANCE_ENTRY) for name in head_names(entity, stripes)]
        return {text(values, self._key): balance_from(values) for values in self._get_many(keys)}

    def list_entities(self, prefix: str, after: str | None, limit: int) -> Sequence[str]:  # noqa: D102
        start = {"listed": LISTED, self._key: after, "entry": BALANCE_ENTRY}
        condition = f"listed = :listed AND begins_with({self._key}, :prefix)"
        with unavailable_as_transient():
            answer = self._client.query(
                TableName=self._table,
                IndexName=LIST_INDEX,
                # DynamoDB takes no empty text in a key's condition.
                KeyConditionExpression=condition if prefix else "listed = :listed",
                ExpressionAttributeValues=to_item(
                    {":listed": LISTED, **({":prefix": prefix} if prefix else {})}
                ),
                Limit=limit,
                **({} if after is None else {"ExclusiveStartKey": to_item(start)}),
            )
        # A page never ends early: a hundred of the longest keys take 20 KB, and a page holds 1 MB.
        return [item[self._key]["S"] for item in answer["Items"]]

    def heads_of(self, stripes: Mapping[str, int]) -> Mapping[str, Heads]:  # noqa: D102
        names = [name for entity, number in stripes.items() for name in head_names(entity, number)]
        found: dict[str, dict[str, Balance]] = {}
        unreadable: set[str] = set()
        for values in self._get_many([(name, BALANCE_ENTRY) for name in names]):
            name = text(values, self._key)
            try:
                found.setdefault(entity_of(name), {})[name] = balance_from(values)
            except Exception:  # one malformed item must not block the rest of a list
                logger.exception("a balance can't be read")
                unreadable.add(entity_of(name))
        return {entity: heads for entity, heads in found.items() if entity not in unreadable}

    def holds(self, order_ids: Collection[str]) -> Mapping[str, Hold]:  # noqa: D102
        keys = [(_order_key(order_id), f"HOLD#{order_id}") for order_id in order_ids]
        holds: dict[str, Hold] = {}
        for values in self._get_many(keys):
            try:
                entry = self._entry_from(values)
            except Exception:  # one malformed item must not block the rest of a batch
                logger.exception("a hold can't be read")
                continue
            if isinstance(entry, Hold):
                holds[entry.order_id] = entry
        return holds

    def closed_until(self) -> str:  # noqa: D102
        item = self._get(*CLOSED)
        return time(from_item(item), "until") if item else ""

    def adjustment(self, entity: str, adjustment_id: str) -> Adjustment | None:  # noqa: D102
        item = self._get(entity, f"{ADJUSTMENT}{adjustment_id}")
        entry = self._entry_from(from_item(item)) if item else None
        return entry if isinstance(entry, Adjustment) else None

    def write(self, changes: Sequence[BalanceChange], entries: Sequence[Entry], now: str) -> None:  # noqa: D102
        reasons = transact(
            self._client,
            [self._put(entry) for entry in entries]
            + [balance_update(self._table, self._key, change.made_by(entries), now) for change in changes],
        )
        if reasons is None:
            return
        existing: dict[str, Entry] = {}
        heads: dict[str, Balance | None] = {}
        for position, item in refused(reasons):
            if position < len(entries):
                if item:
                    existing[_id_of(entries[position])] = self._entry_from(from_item(item))
            else:
                head = changes[position - len(entries)].head
                heads[head] = balance_from(from_item(item)) if item else None
        contended = {
            changes[position - len(entries)].head for position in busy(reasons) if position >= len(entries)
        }
        raise WriteRefusedError(existing, heads, conflicted(reasons), contended)

    def settlement(self, amounts: Mapping[str, Mapping[str, Decimal]], now: str) -> list[dict[str, Any]]:
        """The actions of a transaction that settle the holds of orders. `amounts`: by order, then by head."""
        changes = aggregate(
            # A settlement has no entry, since the order's status records it; but it is named like one.
            replace(BalanceChange.settle(head, amount), entries={f"SETTLE#{order_id}": amount})
            for order_id, by_head in amounts.items()
            for head, amount in by_head.items()
        )
        return [balance_update(self._table, self._key, change, now) for change in changes]

    def _get(self, partition: str, entry: str) -> Item | None:
        key = to_item({self._key: partition, "entry": entry})
        with unavailable_as_transient():
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def _get_many(self, keys: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        if len(keys) > MAX_BATCH_KEYS:
            return self._get_many(keys[:MAX_BATCH_KEYS]) + self._get_many(keys[MAX_BATCH_KEYS:])
        remaining = [to_item({self._key: partition, "entry": entry}) for partition, entry in keys]
        found: list[dict[str, Any]] = []
        for attempt in self._retry:
            if not remaining:
                break
            request = {self._table: {"Keys": remaining, "ConsistentRead": True}}
            with unavailable_as_transient():
                answer = self._client.batch_get_item(RequestItems=request)
            found += [from_item(item) for item in answer["Responses"].get(self._table, [])]
            # Some keys may be left unread, with HTTP 200.
            remaining = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if remaining:
                attempt.back_off()
        if remaining:
            raise TransientError(BUSY)
        return found

    def _put(self, entry: Entry) -> dict[str, Any]:
        # An order's entries have the order's partition key. Only the head is in the partition of a hot
        # product, which serves 1,000 write units a second.
        partition = entry.entity if isinstance(entry, Adjustment) else _order_key(entry.order_id)
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item({self._key: partition, "entry": entry.key, **_entry_values(entry)}),
                "ConditionExpression": "attribute_not_exists(entry)",
            }
        }

    def _entry_from(self, values: Mapping[str, Any]) -> Entry:
        return entry_from(self._key, values)


def entry_from(key: str, values: Mapping[str, Any]) -> Entry:
    """The entry in an item's values; `key` is the name of the table's partition key.

    Raises:
        UnreadableError: the values do not have the form that this system writes.
    """
    kind, _, entry_id = text(values, "entry").partition("#")
    match kind:
        case "HOLD":
            return hold_from(entry_id, values)
        case "RELEASE":
            return Release(entry_id, _amounts_from(values), time(values, "time"))
        case "ADJUST":
            return Adjustment(
                text(values, key),
                entry_id,
                number(values, "amount"),
                text(values, "fingerprint"),
                balance_from(mapping(values, "after")),
                time(values, "time"),
            )
    raise UnreadableError(f"entry: there is no {kind}")


def hold_from(order_id: str, values: Mapping[str, Any]) -> Hold:
    """The hold in an item's values.

    Raises:
        UnreadableError: the values do not have the form that this system writes.
    """
    return Hold(
        text(values, "entity"),
        order_id,
        _amounts_from(values),
        check_result_from(values),
        time(values, "time"),
    )


def _amounts_from(values: Mapping[str, Any]) -> dict[str, Decimal]:
    amounts = mapping(values, "amounts")
    return {head: number(amounts, head) for head in amounts}


def _order_key(order_id: str) -> str:
    return f"ORDER#{order_id}"


def balance_update(table: str, key: str, change: BalanceChange, now: str) -> dict[str, Any]:
    """One head's action in a transaction: the change, on the condition that no figure falls below zero."""
    if change.expected == 0:
        return _new_head(table, key, change, now)
    # The names of a batch of ten take 500 bytes: a head stays under 1 KB, and costs no more to write.
    values: dict[str, Any] = {":one": 1, ":now": now, ":entries": change.entries}
    updates = ["version = version + :one", "updateTime = :now", "lastEntries = :entries"]
    conditions = ["attribute_exists(entry)"]
    if change.is_hold:
        # `<>` also holds for a head without the attribute, which was never deleted. To clear it, it is set to
        # 0, and a price to `UNPRICED`: no release removes an attribute from an item.
        conditions.append("deleted <> :tombstone")
        values |= {":tombstone": 1, ":unpriced": UNPRICED}
        allowed = ["attribute_not_exists(price)", "price = :unpriced"]
        if change.unit_price is not None:
            allowed.append("price = :unitPrice")
            values[":unitPrice"] = change.unit_price
        conditions.append(f"({' OR '.join(allowed)})")
    if _is_adjusted(change):
        # With every adjustment: this puts heads of earlier releases into the index. Repeating it is harmless.
        updates.append("listed = :listed")
        values[":listed"] = LISTED
    if change.deleted is not None:
        updates.append("deleted = :deleted")
        values[":deleted"] = int(change.deleted)
    if change.price is not None:
        updates.append("price = :price")
        values[":price"] = change.price
    if change.stripes is not None:
        updates.append("stripes = :stripes")
        values[":stripes"] = change.stripes
        conditions.append("attribute_not_exists(stripes)")
    for figure, amount in (("balance", change.balance), ("held", change.held), ("settled", change.settled)):
        if amount:
            updates.append(f"{figure} = {figure} + :{figure}")
            values[f":{figure}"] = amount
        if amount < 0:
            conditions.append(f"{figure} >= :least_{figure}")
            values[f":least_{figure}"] = -amount
    for counter, is_counted in (("balanceVersion", change.balance), ("transfers", change.transfer)):
        if is_counted:
            updates.append(f"{counter} = {counter} + :one")
    if change.expected is not None:
        conditions.append("version = :expected")
        values[":expected"] = change.expected
    return {
        "Update": {
            "TableName": table,
            "Key": to_item({key: change.head, "entry": BALANCE_ENTRY}),
            "UpdateExpression": f"SET {', '.join(updates)}",
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeValues": to_item(values),
        }
    }


def _new_head(table: str, key: str, change: BalanceChange, now: str) -> dict[str, Any]:
    return {
        "Put": {
            "TableName": table,
            "Item": to_item(
                {
                    key: change.head,
                    "entry": BALANCE_ENTRY,
                    "balance": change.balance,
                    "held": change.held,
                    "settled": change.settled,
                    "version": 1,
                    "balanceVersion": 1,
                    "transfers": 1 if change.transfer else 0,
                    "updateTime": now,
                    "price": change.price,
                    "lastEntries": change.entries,
                    "listed": LISTED if _is_adjusted(change) else None,
                }
            ),
            "ConditionExpression": "attribute_not_exists(entry)",
        }
    }


def _is_adjusted(change: BalanceChange) -> bool:
    """Whether a change contains an adjustment. Only a root's change can; a root begins with an adjustment."""
    return any(key.startswith(ADJUSTMENT) for key in change.entries)


def _id_of(entry: Entry) -> str:
    return entry.adjustment_id if isinstance(entry, Adjustment) else entry.order_id


def _entry_values(entry: Entry) -> Mapping[str, Any]:
    match entry:
        case Hold():
            return {
                "entity": entry.entity,
                "amounts": entry.amounts,
                "time": entry.time,
                **check_result_values(entry.decision),
            }
        case Release():
            return {"amounts": entry.amounts, "time": entry.time}
        case Adjustment():
            after = {
                "balance": entry.after.balance,
                "held": entry.after.held,
                "settled": entry.after.settled,
                "version": entry.after.version,
                "updateTime": entry.after.update_time,
                "deleted": 1 if entry.after.deleted else None,  # left out unless it is deleted
                "price": entry.after.price,
            }
            return {
                "amount": entry.amount,
                "time": entry.time,
                "fingerprint": entry.fingerprint,
                "after": after,
            }


def balance_from(values: Mapping[str, Any]) -> Balance:
    """The head in an item's values.

    Raises:
        UnreadableError: the values do not have the form that this system writes.
    """
    return Balance(
        balance=number(values, "balance"),
        held=number(values, "held"),
        settled=number(values, "settled"),
        version=integer(values, "version"),
        update_time=time(values, "updateTime"),
        deleted=bool(integer(values, "deleted", 0)),
        price=price_from(values),
        stripes=integer(values, "stripes", 0),
        balance_version=integer(values, "balanceVersion", 0),
        transfers=integer(values, "transfers", 0),
    )


def price_from(values: Mapping[str, Any], name: str = "price") -> Decimal | None:
    """The price in an item's values."""
    value = number(values, name, UNPRICED)
    return None if value == UNPRICED else ACCOUNTS.amount(value)
