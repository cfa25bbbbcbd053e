"""DynamoDB with contention: transactions take time, conflict, and are throttled.

* From prepare to commit, a transaction refuses every other write of its items, transactional or plain, and
  every transactional read (docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html,
  "Transaction conflict handling"). Plain reads see the last committed state.
* Conditions are evaluated when it is prepared.
* A partition key has a limit of units a second (constants). A transactional write takes two for each KB, or
  one if its condition fails; conflicts and throttled calls are assumed to take none. A new item also takes a
  unit of the table's index, under the index's own key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.flash_sale.constants import Constants
from tests.support.aws.dynamodb import DynamoDB, Key, Write
from tests.support.aws.errors import cancelled, client_error
from tests.support.aws.expressions import ExpressionError, Item
from tests.support.sizes import stored_size
from tests.support.virtual_time import Time

Place = tuple[str, Key]
_PASSES = {"Code": "None"}
_CONFLICT = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
_EXCEEDED = "ProvisionedThroughputExceededException"
_THROTTLED = {"Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity"}


Partition = tuple[str, str]


class Throttle:
    """A limit of units a second for each partition key; a burst of one second's units is allowed."""

    def __init__(self, time: Time, rate: float) -> None:
        self._time, self._rate = time, rate
        self._left: dict[Partition, tuple[float, float]] = {}

    def missing(self, units: Mapping[Partition, float]) -> set[Partition]:
        """The partition keys that lack the units; if there are none, all units are taken."""
        now, rate = self._time.now, self._rate
        after: dict[Partition, tuple[float, float]] = {}
        missing: set[Partition] = set()
        for partition, number in units.items():
            left, since = self._left.get(partition, (rate, now))
            left = min(left + (now - since) * rate, rate)
            if left < min(number, rate):  # a call that needs more than a second's units passes alone
                missing.add(partition)
            after[partition] = (left - number, now)
        if not missing:
            self._left.update(after)
        return missing


@dataclass
class Figures:
    """The counters."""

    transactions: int = 0
    conflicts: int = 0
    """Transactions that were refused because of a conflict, or throttled."""
    refused_writes: int = 0
    throttled: int = 0
    write_units: int = 0
    read_units: int = 0
    refused_by: Counter[str] = field(default_factory=Counter)
    """By the table of the conflicting item."""


class ContendedDynamoDB:
    """The calls of botocore's client, over a store that concurrent writers share."""

    def __init__(
        self,
        store: DynamoDB,
        time: Time,
        constants: Constants,
        sleep: Callable[[float], None],
        pause: Callable[[float], None],
    ) -> None:
        """`pause` sleeps for a latency, given by its median in ms; `sleep` for seconds."""
        self._store, self._time, self._constants = store, time, constants
        self._sleep, self._pause = sleep, pause
        self._in_flight: set[Place] = set()
        self._writes = Throttle(time, constants.wcu_per_partition)
        self._reads = Throttle(time, constants.rcu_per_partition)
        self.latency: Callable[[float], float] = lambda median: median / 1000
        self.figures = Figures()

    # Writes

    def transact_write_items(self, *, TransactItems: Sequence[Mapping[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        """Write all or nothing, after a delay; refused if another call writes one of the items."""
        writes = self._store.prepare(TransactItems)
        places = [(write.table.name, write.key) for write in writes]
        self.figures.transactions += 1
        reasons = self._refusals(writes, places)
        if any(reasons):
            codes = {reason["Code"] for reason in reasons if reason}
            self.figures.conflicts += not codes.isdisjoint({"TransactionConflict", "ThrottlingError"})
            self.figures.throttled += "ThrottlingError" in codes
            self._pause(self._constants.refusal_ms)
            raise cancelled([reason or _PASSES for reason in reasons])
        # It commits even if the calling function is stopped meanwhile.
        self._in_flight.update(places)
        median = self._constants.transaction_ms + self._constants.transaction_item_ms * len(writes)
        takes = self.latency(median)
        self._time.call(partial(self._commit, writes, places), takes)
        self._sleep(takes)
        return {}

    def _refusals(self, writes: Sequence[Write], places: Sequence[Place]) -> list[dict[str, Any] | None]:
        """Why each part of a transaction can't be prepared; empty if all can."""
        in_the_way = [place in self._in_flight for place in places]
        reasons = [
            _CONFLICT if blocked else write.refusal()
            for write, blocked in zip(writes, in_the_way, strict=True)
        ]
        for place, blocked in zip(places, in_the_way, strict=True):
            self.figures.refused_by[place[0]] += blocked
        if any(in_the_way):
            return reasons
        prepares = any(reasons)
        units: dict[Partition, float] = {}
        of_writes = [self._units_by_partition(write, 1 if prepares else 2) for write in writes]
        for each in of_writes:
            for partition, number in each.items():
                units[partition] = units.get(partition, 0) + number
        missing = self._writes.missing(units)
        if missing:
            return [None if missing.isdisjoint(each) else _THROTTLED for each in of_writes]
        self.figures.write_units += int(sum(units.values()))
        return reasons

    def _commit(self, writes: Sequence[Write], places: Sequence[Place]) -> None:
        self._in_flight.difference_update(places)
        self._store.commit(writes)

    def put_item(self, **action: Any) -> dict[str, Any]:
        """Write a whole item, conditionally."""
        return self._write("PutItem", {"Put": action})

    def update_item(self, **action: Any) -> dict[str, Any]:
        """Update an item, conditionally."""
        return self._write("UpdateItem", {"Update": action})

    def delete_item(self, **action: Any) -> dict[str, Any]:
        """Delete an item, conditionally."""
        return self._write("DeleteItem", {"Delete": action})

    def _write(self, operation: str, action: Mapping[str, Any]) -> dict[str, Any]:
        (write,) = self._store.prepare([action])
        if (write.table.name, write.key) in self._in_flight:
            self.figures.refused_writes += 1
            self._pause(self._constants.refusal_ms)
            raise client_error(operation, "TransactionConflictException", _CONFLICT["Message"])
        units = self._units_by_partition(write, 1)
        if self._writes.missing(units):
            self.figures.throttled += 1
            self._pause(self._constants.refusal_ms)
            raise client_error(operation, _EXCEEDED, _THROTTLED["Message"])
        self.figures.write_units += int(sum(units.values()))
        if refusal := write.refusal():
            self._pause(self._constants.write_ms)
            more = {"Item": refusal["Item"]} if "Item" in refusal else {}
            raise client_error(operation, "ConditionalCheckFailedException", refusal["Message"], **more)
        self._store.commit([write])
        self._pause(self._constants.write_ms)
        return {}

    def _units_by_partition(self, write: Write, each: int) -> dict[Partition, float]:
        """A write's units, `each` per KB, and those of its table's indexes, whose keys never change."""
        old = write.table.items.get(write.key)
        try:
            item = write.result(old or {})
        except ExpressionError:
            item = {}  # its condition requires that the item exists
        units = {(write.table.name, write.key[0]): float(each * _kilobytes(item or old or {}, 1024))}
        if old is None:
            for name, index in write.table.indexes.items():
                if index.has(item):
                    # Tables may have indexes of the same name.
                    units[f"{write.table.name} {name}", item[index.key_names[0]]["S"]] = 1
        return units

    # Reads

    def get_item(self, *, TableName: str, Key: Item, **more: Any) -> dict[str, Any]:  # noqa: N803
        """Return `{"Item": …}`, or an empty response."""
        self._read("GetItem", TableName, [Key], is_consistent=more.get("ConsistentRead", False))
        return self._store.get_item(TableName=TableName, Key=Key, **more)

    def batch_get_item(self, *, RequestItems: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Return the existing items. It is not a snapshot: here they are read in two halves."""
        ((table, request),) = RequestItems.items()
        keys, found = list(request["Keys"]), list[Item]()
        middle = (len(keys) + 1) // 2
        half = self._constants.read_ms / 2
        for part in filter(None, (keys[:middle], keys[middle:])):
            is_consistent = request.get("ConsistentRead", False)
            self._read("BatchGetItem", table, part, is_consistent=is_consistent, median=half)
            answer = self._store.batch_get_item(RequestItems={table: {**request, "Keys": part}})
            found += answer["Responses"][table]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def query(self, **asked: Any) -> dict[str, Any]:
        """Return a page of a table or an index. Its units are counted but not limited."""
        self._pause(self._constants.read_ms)
        page = self._store.query(**asked)
        units = sum(_kilobytes(item, 4096) for item in page["Items"])
        self.figures.read_units += max(1, math.ceil(units * (1 if asked.get("ConsistentRead") else 0.5)))
        return page

    def transact_get_items(self, *, TransactItems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """Return a snapshot of all items; refused if another call writes one of them."""
        asked = [each["Get"] for each in TransactItems]
        for each in asked:
            self._read("TransactGetItems", each["TableName"], [each["Key"]] * 2, is_consistent=True, median=0)
        places = [(each["TableName"], _key_of(each["Key"])) for each in asked]
        if not self._in_flight.isdisjoint(places):
            self._pause(self._constants.refusal_ms)
            reasons = [_CONFLICT if place in self._in_flight else _PASSES for place in places]
            code = "TransactionCanceledException"
            raise client_error("TransactGetItems", code, "Transaction cancelled", CancellationReasons=reasons)
        found = [self._store.items(table).get(key) for table, key in places]
        self._pause(self._constants.read_ms)
        return {"Responses": [{} if item is None else {"Item": item} for item in found]}

    def _read(
        self,
        operation: str,
        table: str,
        keys: Sequence[Item],
        *,
        is_consistent: bool,
        median: float | None = None,
    ) -> None:
        self._pause(self._constants.read_ms if median is None else median)
        items = self._store.items(table)
        for each in keys:
            key = _key_of(each)
            units = _kilobytes(items.get(key, {}), 4096) * (1 if is_consistent else 0.5)
            self.figures.read_units += math.ceil(units)
            if self._reads.missing({(table, key[0]): units}):
                raise client_error(operation, _EXCEEDED, _THROTTLED["Message"])


def _key_of(key: Item) -> Key:
    return tuple(value["S"] for value in key.values())


def _kilobytes(item: Item, unit: int) -> int:
    # An item's text is longer than its size in DynamoDB, so most items need not be measured.
    return 1 if len(repr(item)) <= unit else max(1, math.ceil(stored_size(item) / unit))
