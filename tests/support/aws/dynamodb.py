"""DynamoDB in memory: the calls of botocore's client that the application makes, and the table's stream.

An unsupported request is an error, never a guess. The contract suite compares it with DynamoDB Local.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from tests.support.aws.errors import cancelled, client_error, invalid
from tests.support.aws.expressions import (
    Expression,
    ExpressionError,
    Item,
    Values,
    condition,
    number,
    update,
)

MAX_ACTIONS = 100
MAX_BATCH_GET = 100
MAX_BATCH_WRITE = 25
TOKEN_SECONDS = 600

Key = tuple[str, ...]
Interruption = Exception | Callable[[], object]
_CONFLICT = Exception("another transaction is in progress on an item of this one")


class Change(NamedTuple):
    """The change of one item by a commit; `new` is empty if it was deleted."""

    table: str
    key: Key
    old: Item | None
    new: Item


class Index(NamedTuple):
    """A global secondary index. It has only the items with its key's attributes: it may be sparse."""

    key_names: tuple[str, ...]
    included: tuple[str, ...]
    """The projected attributes besides the keys of table and index."""

    def has(self, item: Item) -> bool:
        return all(name in item for name in self.key_names)


@dataclass
class _Table:
    name: str
    key_names: tuple[str, ...]
    indexes: Mapping[str, Index] = field(default_factory=dict)
    items: dict[Key, Item] = field(default_factory=dict)
    partitions: defaultdict[str, dict[Key, None]] = field(default_factory=lambda: defaultdict(dict))
    """The keys of the items, by partition key."""
    before: dict[Key, Item | None] = field(default_factory=dict)
    stream: list[dict[str, Any]] = field(default_factory=list)

    def key_of(self, operation: str, values: Mapping[str, Any]) -> Key:
        try:
            key = tuple([values[name]["S"] for name in self.key_names])
        except KeyError as missing:
            raise invalid(operation, f"the key has no {missing} of type S") from missing
        if "" in key:
            raise invalid(operation, "a key attribute is empty")
        return key

    def exact_key(self, operation: str, values: Mapping[str, Any]) -> Key:
        if len(values) != len(self.key_names):
            raise invalid(operation, "The provided key element does not match the schema")
        return self.key_of(operation, values)


class Write(NamedTuple):
    """One parsed action: its key, its condition, and its effect on the existing item."""

    table: _Table
    key: Key
    holds: Callable[[Item, Values], bool]
    values: Values
    result: Callable[[Item], Item]
    returns_old: bool

    def refusal(self) -> dict[str, Any] | None:
        old = self.table.items.get(self.key)
        if self.holds(old or {}, self.values):
            return None
        reason: dict[str, Any] = {
            "Code": "ConditionalCheckFailed",
            "Message": "The conditional request failed",
        }
        if self.returns_old and old is not None:
            reason["Item"] = old
        return reason


class DynamoDB:
    """All tables of an account. Each call is one atomic step.

    An item is never changed, only replaced: readers get the item itself, and must not change it.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._tables: dict[str, _Table] = {}
        self._tokens: dict[str, tuple[float, Sequence[Any]]] = {}
        self._lagging = False
        self._interruptions: list[tuple[str, Interruption]] = []
        self.writes = 0
        """The number of calls that wrote something."""
        self.on_commit: Callable[[Sequence[Change]], None] = lambda changes: None

    # The calls of botocore's client

    def create_table(
        self,
        *,
        TableName: str,  # noqa: N803
        KeySchema: Sequence[Mapping[str, str]],  # noqa: N803
        GlobalSecondaryIndexes: Sequence[Mapping[str, Any]] = (),  # noqa: N803
        **_: Any,
    ) -> None:
        """Create a table whose key attributes are text, with indexes of keys and named attributes."""
        indexes = {index["IndexName"]: _index(index) for index in GlobalSecondaryIndexes}
        self._tables[TableName] = _Table(TableName, _names(KeySchema), indexes)

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool = False) -> dict[str, Any]:  # noqa: N803
        """Return `{"Item": …}`, or an empty response."""
        table = self._table("GetItem", TableName)
        item = self._read(table, table.exact_key("GetItem", Key), consistent=ConsistentRead)
        return {} if item is None else {"Item": item}

    def batch_get_item(self, *, RequestItems: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Return the existing items, in an arbitrary order."""
        operation = "BatchGetItem"
        keys = sum(len(request["Keys"]) for request in RequestItems.values())
        if not 1 <= keys <= MAX_BATCH_GET:
            raise invalid(operation, f"a batch reads 1 to {MAX_BATCH_GET} items, not {keys}")
        responses: dict[str, list[Item]] = {}
        for name, request in RequestItems.items():
            _only(operation, request, _BATCH_GET)
            table = self._table(operation, name)
            places = [table.exact_key(operation, key) for key in request["Keys"]]
            if len(set(places)) != len(places):
                raise invalid(operation, "Provided list of item keys contains duplicates")
            consistent = request.get("ConsistentRead", False)
            found = [self._read(table, place, consistent=consistent) for place in places]
            responses[name] = [item for item in found if item is not None]
        return {"Responses": responses, "UnprocessedKeys": {}}

    def query(
        self,
        *,
        TableName: str,  # noqa: N803
        KeyConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Item,  # noqa: N803
        IndexName: str = "",  # noqa: N803
        ScanIndexForward: bool = True,  # noqa: N803
        Limit: int | None = None,  # noqa: N803
        ConsistentRead: bool = False,  # noqa: N803
        ExclusiveStartKey: Item | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """Return a page of a table's or an index's items with one partition key, in order."""
        table = self._table("Query", TableName)
        index = table.indexes[IndexName] if IndexName else None
        if index and ConsistentRead:
            raise invalid("Query", "Consistent reads are not supported on global secondary indexes")
        partition, rank = index.key_names if index else table.key_names
        text = _BETWEEN.sub(r"\1 >= \2 AND \1 <= \3", KeyConditionExpression)
        one = re.match(rf"{partition} = (:\w+)", text)
        if one is None or {*_KEY_PART.findall(text)} - {partition, rank}:
            raise ExpressionError(f"not a condition on the key: {KeyConditionExpression}")
        matches = condition(text, {}).apply
        order = [*dict.fromkeys([rank, *table.key_names])] if index else [rank]
        names = (partition, *order)

        def place(item: Item) -> list[str]:
            return [item[name]["S"] for name in order]

        wanted = ExpressionAttributeValues[one[1]]["S"]
        keys = table.items if index else table.partitions.get(wanted, ())
        found = [item for key in keys if matches(item := table.items[key], ExpressionAttributeValues)]
        if index:
            found = [item for item in found if index.has(item)]
        found.sort(key=place, reverse=not ScanIndexForward)
        if ExclusiveStartKey is not None:
            start = place(ExclusiveStartKey)
            found = [
                item for item in found if place(item) != start and (place(item) > start) is ScanIndexForward
            ]
        page = found[:Limit]
        is_full = Limit is not None and len(page) == Limit
        more = {"LastEvaluatedKey": {name: page[-1][name] for name in names}} if is_full else {}
        if index:
            shown = (*names, *index.included)
            page = [{name: item[name] for name in shown if name in item} for item in page]
        return {"Items": page, **more}

    def batch_write_item(self, *, RequestItems: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:  # noqa: N803
        """Put up to 25 items, independently."""
        operation = "BatchWriteItem"
        puts = [
            self._put(operation, {"TableName": name, **request["PutRequest"]})
            for name, requests in RequestItems.items()
            for request in requests
        ]
        if not 1 <= len(puts) <= MAX_BATCH_WRITE:
            raise invalid(operation, f"a batch writes 1 to {MAX_BATCH_WRITE} items, not {len(puts)}")
        if len({(put.table.name, put.key) for put in puts}) != len(puts):
            raise invalid(operation, "Provided list of item keys contains duplicates")
        for put in puts:
            self.commit([put])
        return {"UnprocessedItems": {}}

    def delete_item(self, **action: Any) -> dict[str, Any]:
        """Delete an item, conditionally."""
        self._interrupt("DeleteItem")
        return self._write_one("DeleteItem", self._delete("DeleteItem", action))

    def put_item(self, **action: Any) -> dict[str, Any]:
        """Write a whole item, conditionally."""
        self._interrupt("PutItem")
        return self._write_one("PutItem", self._put("PutItem", action))

    def update_item(self, **action: Any) -> dict[str, Any]:
        """Update an item, conditionally."""
        self._interrupt("UpdateItem")
        return self._write_one("UpdateItem", self._update("UpdateItem", action))

    def transact_write_items(
        self,
        *,
        TransactItems: Sequence[Mapping[str, Mapping[str, Any]]],  # noqa: N803
        ClientRequestToken: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """Write all or nothing; a repeated token writes nothing."""
        operation = "TransactWriteItems"
        self._interrupt(operation, len(TransactItems))
        if ClientRequestToken is not None and self._was_done(ClientRequestToken, TransactItems):
            return {}
        writes = self.prepare(TransactItems)
        try:
            refusals = [write.refusal() for write in writes]
            if any(refusals):
                raise cancelled([refusal or {"Code": "None"} for refusal in refusals])
            self.commit(writes)
        except ExpressionError as error:
            raise invalid(operation, str(error)) from error
        if ClientRequestToken is not None:
            self._tokens[ClientRequestToken] = (self._now(), TransactItems)
        return {}

    # Beyond botocore's calls

    def prepare(self, actions: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Write]:
        """The parsed actions of a transaction, for models in which time passes until they `commit` them."""
        operation = "TransactWriteItems"
        if not 1 <= len(actions) <= MAX_ACTIONS:
            raise invalid(operation, f"a transaction takes 1 to {MAX_ACTIONS} actions, not {len(actions)}")
        writes = [self._action(operation, each) for each in actions]
        if len({(write.table.name, write.key) for write in writes}) != len(writes):
            raise invalid(operation, "Transaction request cannot include multiple operations on one item")
        return writes

    def interrupt(self, *interruptions: Interruption, operation: str = "") -> None:
        """Before each of the next writes, raise an error or make a call, one of these each.

        With an `operation` ("UpdateItem"), only before writes of that kind.
        """
        self._interruptions += [(operation, each) for each in interruptions]

    def conflict(self, times: int) -> None:
        """Let this many of the next writes conflict with another transaction."""
        self.interrupt(*[_CONFLICT] * times)

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """Let eventually consistent reads return each item as it was before its last change."""
        self._lagging = True
        try:
            yield
        finally:
            self._lagging = False

    def stream(self, table: str) -> list[dict[str, Any]]:
        """Every change of a table, in order, as in its stream."""
        return self._tables[table].stream

    def items(self, table: str) -> Mapping[Key, Item]:
        """All items of a table."""
        return self._tables[table].items

    # Internals

    def _interrupt(self, operation: str, actions: int = 1) -> None:
        if not self._interruptions or self._interruptions[0][0] not in ("", operation):
            return
        _, interruption = self._interruptions.pop(0)
        if interruption is _CONFLICT:
            if operation == "TransactWriteItems":
                raise cancelled([{"Code": "TransactionConflict"}] * actions)
            raise client_error(operation, "TransactionConflictException")
        if isinstance(interruption, Exception):
            raise interruption
        interruption()

    def _table(self, operation: str, name: str) -> _Table:
        if name not in self._tables:
            raise client_error(operation, "ResourceNotFoundException", "Requested resource not found")
        return self._tables[name]

    def _read(self, table: _Table, key: Key, *, consistent: bool) -> Item | None:
        if self._lagging and not consistent and key in table.before:
            return table.before[key]
        return table.items.get(key)

    def _was_done(self, token: str, request: Sequence[Any]) -> bool:
        done, before = self._tokens.get(token, (0.0, ()))
        if not before or self._now() - done > TOKEN_SECONDS:
            return False
        if before != request:
            raise client_error(
                "TransactWriteItems",
                "IdempotentParameterMismatchException",
                "The request uses the same client token as a previous, but non-identical request.",
            )
        return True

    def _action(self, operation: str, each: Mapping[str, Mapping[str, Any]]) -> Write:
        ((kind, action),) = each.items()
        match kind:
            case "Put":
                return self._put(operation, action)
            case "Update":
                return self._update(operation, action)
            case "Delete":
                return self._delete(operation, action)
        raise NotImplementedError(f"an action of kind {kind}")

    def _put(self, operation: str, action: Mapping[str, Any]) -> Write:
        _only(operation, action, _PUT)
        table = self._table(operation, action["TableName"])
        try:
            new, values = _kept(action["Item"]), _kept(action.get("ExpressionAttributeValues", {}))
            holds, _ = _read(action, None, values)
        except ExpressionError as error:
            raise invalid(operation, str(error)) from error
        key = table.key_of(operation, new)
        return Write(table, key, holds, values, lambda _: new, _returns_old(operation, action))

    def _update(self, operation: str, action: Mapping[str, Any]) -> Write:
        _only(operation, action, _UPDATE)
        table = self._table(operation, action["TableName"])
        key = table.exact_key(operation, action["Key"])
        try:
            values = _kept(action.get("ExpressionAttributeValues", {}))
            holds, change = _read(action, action["UpdateExpression"], values)
        except ExpressionError as error:
            raise invalid(operation, str(error)) from error

        def result(old: Item) -> Item:
            changes = change(old, values)
            if not changes.keys().isdisjoint(table.key_names):
                raise ExpressionError("This attribute is part of the key")
            new = {**action["Key"], **old, **changes}
            return {name: value for name, value in new.items() if value} if None in changes.values() else new

        return Write(table, key, holds, values, result, _returns_old(operation, action))

    def _delete(self, operation: str, action: Mapping[str, Any]) -> Write:
        _only(operation, action, _DELETE)
        table = self._table(operation, action["TableName"])
        key = table.exact_key(operation, action["Key"])
        try:
            values = _kept(action.get("ExpressionAttributeValues", {}))
            holds, _ = _read(action, None, values)
        except ExpressionError as error:
            raise invalid(operation, str(error)) from error
        return Write(table, key, holds, values, lambda _: {}, _returns_old(operation, action))

    def _write_one(self, operation: str, write: Write) -> dict[str, Any]:
        try:
            if refusal := write.refusal():
                _refuse(operation, refusal)
            self.commit([write])
        except ExpressionError as error:
            raise invalid(operation, str(error)) from error
        return {}

    def commit(self, writes: Sequence[Write]) -> None:
        """Write all items, if none is refused."""
        changes = [
            Change(write.table.name, write.key, old, write.result(old or {}))
            for write in writes
            for old in (write.table.items.get(write.key),)
        ]
        for write, change in zip(writes, changes, strict=True):
            write.table.before[write.key] = change.old
            images = {"OldImage": change.old, "NewImage": change.new}
            record = {name: image for name, image in images.items() if image}
            if change.new:
                write.table.items[write.key] = change.new
                if change.old is None:
                    write.table.partitions[write.key[0]][write.key] = None
            elif change.old is None:
                continue
            else:
                del write.table.items[write.key], write.table.partitions[write.key[0]][write.key]
            name = "INSERT" if change.old is None else "MODIFY" if change.new else "REMOVE"
            write.table.stream.append({"eventName": name, "dynamodb": record})
        self.writes += 1
        self.on_commit(changes)


_BETWEEN = re.compile(r"(\w+) BETWEEN (:\w+) AND (:\w+)")
_KEY_PART = re.compile(r"(?<![:\w])(\w+)(?= [=<>]|,)")


def _index(properties: Mapping[str, Any]) -> Index:
    projection = properties["Projection"]
    if projection["ProjectionType"] not in ("KEYS_ONLY", "INCLUDE"):
        raise NotImplementedError(f"an index of {projection['ProjectionType']}")
    return Index(_names(properties["KeySchema"]), tuple(projection.get("NonKeyAttributes", ())))


def _names(key_schema: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(part["AttributeName"] for part in key_schema)


_WRITE = {
    "TableName",
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValuesOnConditionCheckFailure",
}
_PUT = {*_WRITE, "Item"}
_UPDATE = {*_WRITE, "Key", "UpdateExpression"}
_DELETE = {*_WRITE, "Key"}
_BATCH_GET = {"Keys", "ConsistentRead"}


def _only(operation: str, given: Mapping[str, Any], known: set[str]) -> None:
    if not given.keys() <= known:
        raise NotImplementedError(f"{operation} with {sorted(given.keys() - known)}")


_Program = tuple[Callable[[Item, Values], bool], Callable[[Item, Values], Mapping[str, Any]]]
"""A condition's check of an item, and an update's changes of it."""


def _read(action: Mapping[str, Any], update_text: str | None, values: Values) -> _Program:
    """Parse the action's expressions. Every placeholder must be both used and defined."""
    names = action.get("ExpressionAttributeNames", {})
    return _program(action.get("ConditionExpression"), update_text, tuple(names.items()), tuple(values))


@lru_cache(maxsize=1024)
def _program(
    condition_text: str | None,
    update_text: str | None,
    names: Sequence[tuple[str, str]],
    values: Sequence[str],
) -> _Program:
    known = dict(names)
    holds = condition(condition_text, known) if condition_text is not None else _ALWAYS
    changes = update(update_text, known) if update_text is not None else _NO_CHANGE
    used, defined = holds.placeholders | changes.placeholders, {*known, *values}
    if defined != used:
        raise ExpressionError(f"unused, or used and not defined: {sorted(defined ^ used)}")
    return holds.apply, changes.apply


_ALWAYS = Expression(frozenset(), lambda item, values: True)
_NO_CHANGE = Expression(frozenset(), lambda item, values: {})


def _returns_old(operation: str, action: Mapping[str, Any]) -> bool:
    wanted = action.get("ReturnValuesOnConditionCheckFailure", "NONE")
    if wanted not in ("NONE", "ALL_OLD"):
        raise invalid(operation, f"not a value of ReturnValuesOnConditionCheckFailure: {wanted}")
    return bool(wanted == "ALL_OLD")


def _kept(attributes: Item) -> Item:
    """Attributes in stored form. Most are text, which stays unchanged."""
    return {
        name: attribute if "S" in attribute and len(attribute) == 1 else _stored(attribute)
        for name, attribute in attributes.items()
    }


def _stored(attribute: dict[str, Any]) -> dict[str, Any]:
    """An attribute in stored form: with normalised numbers, and containers copied."""
    ((kind, value),) = attribute.items()
    if kind == "S":
        return attribute
    if kind == "N":
        return {"N": number(value)}
    if kind == "SS":
        return {"SS": sorted({*value})}
    if kind == "L":
        return {"L": [_stored(element) for element in value]}
    if kind == "M":
        return {"M": _kept(value)}
    raise NotImplementedError(f"an attribute of type {kind}")


def _refuse(operation: str, refusal: Mapping[str, Any]) -> NoReturn:
    more = {"Item": refusal["Item"]} if "Item" in refusal else {}
    raise client_error(operation, "ConditionalCheckFailedException", refusal["Message"], **more)
