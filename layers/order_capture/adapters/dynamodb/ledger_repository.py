"""A ledger of holds in a DynamoDB table: the heads and the entries of all its customers or products.

Key: `customerId` or `productId`, and `entry`: "BALANCE" for the head, or an entry's own key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from order_capture.adapters.aws_errors import BUSY
from order_capture.adapters.dynamodb.transactions import conflicted, refused, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.check_results import check_result_from, check_result_values
from order_capture.adapters.serializers.fields import integer, mapping, number, text, time
from order_capture.application.ports import WriteRefusedError
from order_capture.domain.errors import TransientError
from order_capture.domain.ledger import (
    ACCOUNTS,
    UNPRICED,
    Adjustment,
    Balance,
    BalanceChange,
    Entry,
    Hold,
    Release,
)

logger = logging.getLogger(__name__)

BALANCE_ENTRY = "BALANCE"


class DynamoLedgerRepository:
    """Implements `application.ports.LedgerRepository`."""

    def __init__(self, client: Any, table: str, key: str) -> None:
        """`key` is the name of the table's partition key."""
        self._client = client
        self._table = table
        self._key = key

    def head(self, entity: str) -> Balance | None:  # noqa: D102 - the port says it
        item = self._get(entity, BALANCE_ENTRY)
        return balance_from(from_item(item)) if item else None

    def hold(self, entity: str, order_id: str) -> Hold | None:  # noqa: D102
        item = self._get(entity, f"HOLD#{order_id}")
        entry = self._entry_from(item) if item else None
        return entry if isinstance(entry, Hold) else None

    def holds(self, entities: Mapping[str, str]) -> Mapping[str, Hold]:  # noqa: D102
        keys = [
            to_item({self._key: entity, "entry": f"HOLD#{order_id}"}) for order_id, entity in entities.items()
        ]
        answer = self._client.batch_get_item(
            RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}}
        )
        if answer.get("UnprocessedKeys"):
            raise TransientError(BUSY)  # what was left unread must not pass for what there is not
        holds: dict[str, Hold] = {}
        for item in answer["Responses"].get(self._table, []):
            try:
                entry = self._entry_from(item)
            except Exception:  # the others of a batch must not wait for it
                logger.exception("a hold can't be read")
                continue
            if isinstance(entry, Hold):
                holds[entry.order_id] = entry
        return holds

    def adjustment(self, entity: str, adjustment_id: str) -> Adjustment | None:  # noqa: D102
        item = self._get(entity, f"ADJUST#{adjustment_id}")
        entry = self._entry_from(item) if item else None
        return entry if isinstance(entry, Adjustment) else None

    def write(self, movements: Sequence[BalanceChange], entries: Sequence[Entry], now: str) -> None:  # noqa: D102
        reasons = transact(
            self._client,
            [self._put(entry) for entry in entries]
            + [
                balance_update(self._table, self._key, movement.made_by(entries), now)
                for movement in movements
            ],
        )
        if reasons is None:
            return
        existing: dict[str, Entry] = {}
        heads: dict[str, Balance | None] = {}
        for position, item in refused(reasons):
            if position < len(entries):
                if item:
                    existing[_id_of(entries[position])] = self._entry_from(item)
            else:
                entity = movements[position - len(entries)].entity
                heads[entity] = balance_from(from_item(item)) if item else None
        raise WriteRefusedError(existing, heads, conflicted(reasons))

    def _get(self, entity: str, entry: str) -> Item | None:
        answer = self._client.get_item(
            TableName=self._table, Key=to_item({self._key: entity, "entry": entry}), ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    def _put(self, entry: Entry) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item({self._key: entry.entity, "entry": entry.key, **_entry_values(entry)}),
                "ConditionExpression": "attribute_not_exists(entry)",
            }
        }

    def _entry_from(self, item: Item) -> Entry:
        values = from_item(item)
        entity, amount, at = text(values, self._key), number(values, "amount"), time(values, "time")
        kind, _, entry_id = text(values, "entry").partition("#")
        match kind:
            case "HOLD":
                return Hold(entity, entry_id, amount, check_result_from(values), at)
            case "RELEASE":
                return Release(entity, entry_id, amount, at)
            case _:
                after = balance_from(mapping(values, "after"))
                return Adjustment(entity, entry_id, amount, text(values, "fingerprint"), after, at)


def balance_update(table: str, key: str, movement: BalanceChange, now: str) -> dict[str, Any]:
    """One head's part of a transaction: the change, and the condition that no figure falls below zero."""
    # The names of a batch of ten are 500 bytes: a head stays under 1 KB, and costs what it did without them.
    values: dict[str, Any] = {":one": 1, ":now": now, ":entries": movement.entries}
    if movement.expected == 0:
        head = {"balance": movement.balance, "held": movement.held, "settled": movement.settled}
        return {
            "Put": {
                "TableName": table,
                "Item": to_item(
                    {
                        key: movement.entity,
                        "entry": BALANCE_ENTRY,
                        **head,
                        "version": 1,
                        "updateTime": now,
                        "price": movement.price,
                        "lastEntries": movement.entries,
                    }
                ),
                "ConditionExpression": "attribute_not_exists(entry)",
            }
        }
    changes = ["version = version + :one", "updateTime = :now", "lastEntries = :entries"]
    conditions = ["attribute_exists(entry)"]
    if movement.is_hold:
        # A head that was never deleted has no such mark, and is unequal to it as well.
        conditions.append("deleted <> :tombstone")
        values[":tombstone"] = 1
        allowed = ["attribute_not_exists(price)", "price = :unpriced"]
        values[":unpriced"] = UNPRICED
        if movement.unit_price is not None:
            allowed.append("price = :unitPrice")
            values[":unitPrice"] = movement.unit_price
        conditions.append(f"({' OR '.join(allowed)})")
    if movement.deleted is not None:
        # A number, since an older release can't read an item with any other mark; and set to 0 where it is
        # made anew, not removed, since no release takes an attribute off an item.
        changes.append("deleted = :deleted")
        values[":deleted"] = int(movement.deleted)
    if movement.price is not None:
        # A price is taken back by a mark as well (`UNPRICED`), for the same reason.
        changes.append("price = :price")
        values[":price"] = movement.price
    for figure, change in (
        ("balance", movement.balance),
        ("held", movement.held),
        ("settled", movement.settled),
    ):
        if change:
            changes.append(f"{figure} = {figure} + :{figure}")
            values[f":{figure}"] = change
        if change < 0:
            conditions.append(f"{figure} >= :least_{figure}")
            values[f":least_{figure}"] = -change
    if movement.expected is not None:
        conditions.append("version = :expected")
        values[":expected"] = movement.expected
    return {
        "Update": {
            "TableName": table,
            "Key": to_item({key: movement.entity, "entry": BALANCE_ENTRY}),
            "UpdateExpression": f"SET {', '.join(changes)}",
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeValues": to_item(values),
        }
    }


def _id_of(entry: Entry) -> str:
    return entry.adjustment_id if isinstance(entry, Adjustment) else entry.order_id


def _entry_values(entry: Entry) -> Mapping[str, Any]:
    match entry:
        case Hold():
            return {"amount": entry.amount, "time": entry.time, **check_result_values(entry.decision)}
        case Release():
            return {"amount": entry.amount, "time": entry.time}
        case Adjustment():
            after = {
                "balance": entry.after.balance,
                "held": entry.after.held,
                "settled": entry.after.settled,
                "version": entry.after.version,
                "updateTime": entry.after.update_time,
                "deleted": 1 if entry.after.deleted else None,  # left out unless it is
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
        UnreadableError: it is not as this system writes it.
    """
    return Balance(
        balance=number(values, "balance"),
        held=number(values, "held"),
        settled=number(values, "settled"),
        version=integer(values, "version"),
        update_time=time(values, "updateTime"),
        deleted=bool(integer(values, "deleted", 0)),
        price=price_from(values),
    )


def price_from(values: Mapping[str, Any], name: str = "price") -> Decimal | None:
    """The price in an item's values."""
    value = number(values, name, UNPRICED)
    return None if value == UNPRICED else ACCOUNTS.amount(value)
