"""Close the books: store the sums of everything older than the retention, and delete it.

One transaction deletes an ended order with its entries in both ledgers, and writes their sums (see
`Closing`): at any time either the entries count or the closing does. So the command may be interrupted and
repeated, and may run concurrently with orders and with itself.

Before anything is deleted, both ledgers are marked with the time until which they are closed. From then on
the audit and `?at=` read nothing older, so the progress of the deletion does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import Any

import botocore.exceptions

from order_capture.adapters import system
from order_capture.adapters.dynamodb.ledger_repository import CLOSED
from order_capture.adapters.dynamodb.transactions import MAX_ITEMS, refused, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers import fields
from order_capture.application.retry import Retry
from order_capture.domain.errors import TransientError
from order_capture.domain.ledger import ZERO, Adjustment, Hold, Release
from order_capture.domain.order import OrderStatus
from order_capture.domain.times import after
from order_capture_ops.errors import CommandError
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack
from order_capture_ops.tables import (
    CLOSING_ENTRY,
    IDEMPOTENCY_PREFIX,
    ORDER_PREFIX,
    UNREADABLE,
    LedgerTable,
    StoredOrder,
    Table,
    Tables,
    is_order,
    read_order,
)

RETENTION_PARAMETER = "OrderRetentionDays"
MIN_RETENTION_DAYS = 60
"""After this time an order's check is not copied any more: see `check_orders.MAX_CHECK_AGE`. Two weeks are
added for clock differences."""

_DAY_SECONDS = 24 * 3600
_BATCH_WRITES = 25  # requests in one BatchWriteItem call
_MAX_LEFT = 1000  # orders listed in the report


@dataclass
class ClosedBooks:
    """What was deleted, or would be in a dry run. `left` is what could not be deleted, with the reason."""

    until: str = ""
    orders: int = 0
    entries: int = 0
    """Entries of the orders, and adjustments."""
    keys: int = 0
    """Records of idempotency keys."""
    records: int = 0
    """History records."""
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EndedOrder:
    """An order with its entries, by ledger."""

    order: StoredOrder
    version: int
    entries: Mapping[LedgerTable, tuple[Hold | None, Release | None]]

    @property
    def update_time(self) -> str:
        """When it was last written."""
        entries = (entry for pair in self.entries.values() for entry in pair if entry)
        return max(self.order.update_time, *(entry.time for entry in entries), "")

    @property
    def unfinished(self) -> str:
        """What is unfinished or wrong; "" if nothing is."""
        if self.order.is_open:
            return f"it is {self.order.status}"
        for table, (hold, release) in self.entries.items():
            if hold is None:
                return f"the {table.noun} ledger has no hold"
            if self.order.status is OrderStatus.SHIPPED:
                if not hold.is_held or release:
                    return f"it is SHIPPED, and not held in the {table.noun} ledger"
            elif hold.is_held and (release is None or release.amounts != hold.amounts):
                return f"it is {self.order.status}, and not released in the {table.noun} ledger"
        return ""

    def settled(self, table: LedgerTable) -> Mapping[str, Decimal]:
        """The sums of its entries in a ledger, by root or stripe."""
        hold, _ = self.entries[table]
        return hold.amounts if hold and self.order.status is OrderStatus.SHIPPED else {}

    @property
    def size(self) -> int:
        """Items of the transaction that deletes only this order."""
        return 1 + sum(2 + len(self.settled(table)) for table in self.entries)


def retention_end(stack: Stack) -> str:
    """The time until which a stack's books are to be closed now.

    Raises:
        CommandError: the stack has no retention, or the parameter is invalid.
    """
    days = int(stack.parameters.get(RETENTION_PARAMETER, 0))
    if not days:
        raise CommandError(
            f"{RETENTION_PARAMETER} is 0: everything is kept.\n"
            f"Deploy with {RETENTION_PARAMETER}=365, for example; at least {MIN_RETENTION_DAYS}."
        )
    if days < MIN_RETENTION_DAYS:
        raise CommandError(f"{RETENTION_PARAMETER} is {days}; it is 0, or at least {MIN_RETENTION_DAYS}.")
    return after(system.clock(), -days * _DAY_SECONDS)


def close_books(
    tables: Tables,
    until: str,
    *,
    dry_run: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
) -> ClosedBooks:
    """Close the books of everything that ended by `until`.

    Raises:
        CommandError: they are already closed until a later time.
        TransientError: the tables are too busy; it may be run again.
    """
    closed = ClosedBooks(until)
    if not dry_run:
        for table in tables.ledgers:
            _mark(table, until)
    for page in tables.orders.pages():
        _close_orders(tables, page, closed, dry_run, on_progress)
    for table in tables.ledgers:
        _close_adjustments(table, closed, dry_run, on_progress)
    _forget_history(tables.history, closed, dry_run, on_progress)
    return closed


def ended_orders(tables: Tables, items: Iterable[Item]) -> Iterator[tuple[Item, EndedOrder | None]]:
    """Orders with their entries; None for an unreadable one."""
    orders = [(item, read_order(item)) for item in items]
    ids = [order.order_id for _, order in orders if order]
    entries = {table: _entries(table, ids) for table in tables.ledgers}
    for item, order in orders:
        if order is None:
            yield item, None
            continue
        of_order = {table: entries[table].get(order.order_id, (None, None)) for table in tables.ledgers}
        yield item, EndedOrder(order, int(item["version"]["N"]), of_order)


def closing_update(table: LedgerTable, name: str, **sums: Decimal) -> dict[str, Any]:
    """The update that adds sums to the closing of a root or stripe."""
    names = sorted(sums)
    return {
        "Update": {
            "TableName": table.name,
            "Key": to_item({table.key: name, "entry": CLOSING_ENTRY}),
            "UpdateExpression": f"ADD {', '.join(f'{each} :{each}' for each in names)}",
            "ExpressionAttributeValues": to_item({f":{each}": sums[each] for each in names}),
        }
    }


def settled_by(hold: Hold | None, release: Release | None) -> Mapping[str, Decimal]:
    """The sums of an ended order's entries, by root or stripe: nothing if it was released."""
    return hold.amounts if hold and hold.is_held and release is None else {}


def close_entries(table: LedgerTable, hold: Hold | None, release: Release | None) -> None:
    """Close an ended order's books in one ledger, after they were closed elsewhere."""
    entries = [entry for entry in (hold, release) if entry]
    actions = [
        _delete(table, {table.key: f"{ORDER_PREFIX}{each.order_id}", "entry": each.key}) for each in entries
    ]
    sums = settled_by(hold, release)
    write(table.client, [*actions, *(closing_update(table, name, settled=sums[name]) for name in sums)])


def close_adjustments(table: LedgerTable, entity: str, adjustments: Sequence[Adjustment]) -> int:
    """Replace adjustments of a customer or product by their sum; returns how many still existed."""
    done = 0
    for start in range(0, len(adjustments), MAX_ITEMS - 1):
        chunk = adjustments[start : start + MAX_ITEMS - 1]
        total = sum((each.amount for each in chunk), ZERO)
        actions = [_delete(table, {table.key: entity, "entry": each.key}) for each in chunk]
        if write(table.client, [*actions, closing_update(table, entity, adjusted=total)]):
            done += len(chunk)
        elif len(chunk) > 1:  # another run has deleted some of them
            done += sum(close_adjustments(table, entity, [each]) for each in chunk)
    return done


def write(client: Any, actions: Sequence[dict[str, Any]]) -> bool:
    """Write all or nothing; False if a condition was not met.

    Raises:
        TransientError: concurrent writes kept conflicting.
    """
    for attempt in Retry(system.backoff):
        reasons = transact(client, actions)
        if reasons is None:
            return True
        if any(True for _ in refused(reasons)):
            return False
        attempt.back_off()
    raise TransientError("The tables are too busy. Run the command again.")


def delete_all(table: Table, keys: Sequence[Item]) -> None:
    """Delete items with unique keys."""
    for start in range(0, len(keys), _BATCH_WRITES):
        requests = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _BATCH_WRITES]]
        for attempt in Retry(system.backoff):
            response = table.client.batch_write_item(RequestItems={table.name: requests})
            requests = response.get("UnprocessedItems", {}).get(table.name, [])
            if not requests:
                break
            attempt.back_off()
        else:
            raise TransientError("The tables are too busy. Run the command again.")


def _mark(table: LedgerTable, until: str) -> None:
    partition, entry = CLOSED
    try:
        table.client.put_item(
            TableName=table.name,
            Item=to_item({table.key: partition, "entry": entry, "until": until}),
            ConditionExpression="attribute_not_exists(entry) OR #until <= :until",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues=to_item({":until": until}),
        )
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        raise CommandError(
            f"The books are already closed until {table.closed_until()}, later than {until}."
        ) from error


def _close_orders(
    tables: Tables, page: Sequence[Item], closed: ClosedBooks, dry_run: bool, on_progress: ProgressCallback
) -> None:
    due: list[EndedOrder] = []
    candidates = [item for item in page if is_order(item) and not _is_newer(item, closed.until)]
    for item, ended in ended_orders(tables, candidates):
        if ended is None:
            reason = "it can't be read"
        elif ended.order.is_open:
            continue  # an open order is kept, however old it is
        elif ended.update_time > closed.until:
            continue
        elif not (reason := ended.unfinished):
            due.append(ended)
            continue
        if len(closed.left) < _MAX_LEFT:
            closed.left.append(f"order {item['orderId']['S']}: {reason}")
    for group in _groups(due):
        done = (
            group if dry_run or _close(tables, group) else [each for each in group if _close(tables, [each])]
        )
        closed.orders += len(done)
        closed.entries += sum(1 for each in done for pair in each.entries.values() for entry in pair if entry)
    keys = [{"orderId": item["orderId"]} for item in page if _is_old_key(item, closed.until)]
    if not dry_run:
        delete_all(tables.orders, keys)
    closed.keys += len(keys)
    on_progress("orders", len(page))


def _is_newer(item: Item, until: str) -> bool:
    """Whether an order was placed later: then its entries are newer too, and need not be read."""
    return bool(item.get("createTime", {}).get("S", "") > until)


def _is_old_key(item: Item, until: str) -> bool:
    """Whether an item is the record of an Idempotency-Key from before that time."""
    if is_order(item):
        return False
    try:
        values = from_item(item)
        if "answer" in values:
            at = fields.mappings(fields.mapping(values, "answer"), "timeline")[-1]["time"]
        else:
            at = fields.time(values, "time", "")
    except UNREADABLE:
        return False
    return "" < str(at) <= until


def _groups(orders: Iterable[EndedOrder]) -> Iterator[list[EndedOrder]]:
    """Group orders into transactions, as many in each as it can hold."""
    group: list[EndedOrder] = []
    size = 0
    for each in orders:
        if group and size + each.size > MAX_ITEMS:
            yield group
            group, size = [], 0
        group.append(each)
        size += each.size
    if group:
        yield group


def _close(tables: Tables, group: Sequence[EndedOrder]) -> bool:
    """Delete orders and keep their sums; False if one of them has changed since it was read."""
    actions = []
    for each in group:
        delete = _delete(tables.orders, {"orderId": each.order.order_id})
        delete["Delete"] |= {
            "ConditionExpression": "version = :version",
            "ExpressionAttributeValues": to_item({":version": each.version}),
        }
        actions.append(delete)
    for table in tables.ledgers:
        sums: dict[str, Decimal] = {}
        for each in group:
            partition = f"{ORDER_PREFIX}{each.order.order_id}"
            actions += [
                _delete(table, {table.key: partition, "entry": entry.key})
                for entry in each.entries[table]
                if entry
            ]
            for name, amount in each.settled(table).items():
                sums[name] = sums.get(name, ZERO) + amount
        actions += [closing_update(table, name, settled=amount) for name, amount in sums.items()]
    return write(tables.orders.client, actions)


def _delete(table: Table, key: Mapping[str, str]) -> dict[str, Any]:
    """The delete of an existing item: of two concurrent runs, only one counts its sum."""
    condition = f"attribute_exists({next(iter(key))})"
    return {"Delete": {"TableName": table.name, "Key": to_item(key), "ConditionExpression": condition}}


def _entries(table: LedgerTable, order_ids: Iterable[str]) -> dict[str, tuple[Hold | None, Release | None]]:
    keys = [
        {table.key: f"{ORDER_PREFIX}{order_id}", "entry": f"{kind}#{order_id}"}
        for order_id in order_ids
        for kind in ("HOLD", "RELEASE")
    ]
    holds: dict[str, Hold] = {}
    releases: dict[str, Release] = {}
    for item in table.get_many(keys):
        try:
            entry = table.read_entry(item)
        except UNREADABLE:
            continue  # treated as missing: the order is left, and the audit reports why
        if isinstance(entry, Hold):
            holds[entry.order_id] = entry
        elif isinstance(entry, Release):
            releases[entry.order_id] = entry
    return {each: (holds.get(each), releases.get(each)) for each in {*holds, *releases}}


def _close_adjustments(
    table: LedgerTable, closed: ClosedBooks, dry_run: bool, on_progress: ProgressCallback
) -> None:
    """Close the adjustments, except each entity's newest: it has the current price and deletion mark."""
    items = _old_adjustments(table, closed.until, on_progress)
    for partition, group in groupby(items, key=table.partition):
        if partition.startswith(IDEMPOTENCY_PREFIX):
            keys = [{table.key: item[table.key], "entry": item["entry"]} for item in group]
            if not dry_run:
                delete_all(table, keys)
            closed.keys += len(keys)
            continue
        adjustments: list[Adjustment] = []
        for item in group:
            try:
                entry = table.read_entry(item)
            except UNREADABLE:
                closed.left.append(f"{table.label(partition)}, {item['entry']['S']}: it can't be read")
            else:
                if isinstance(entry, Adjustment):
                    adjustments.append(entry)
        adjustments.sort(key=lambda each: each.after.version)
        old = adjustments[:-1]
        closed.entries += len(old) if dry_run else close_adjustments(table, partition, old)


def _old_adjustments(table: LedgerTable, until: str, on_progress: ProgressCallback) -> Iterator[Item]:
    paginator = table.client.get_paginator("scan")
    for page in paginator.paginate(
        TableName=table.name,
        FilterExpression="begins_with(entry, :adjust) AND #time <= :until",
        ExpressionAttributeNames={"#time": "time"},
        ExpressionAttributeValues=to_item({":adjust": "ADJUST#", ":until": until}),
        ConsistentRead=True,
    ):
        yield from page["Items"]
        on_progress(f"{table.noun} entries", page["ScannedCount"])


def _forget_history(
    history: Table, closed: ClosedBooks, dry_run: bool, on_progress: ProgressCallback
) -> None:
    paginator = history.client.get_paginator("scan")
    for page in paginator.paginate(
        TableName=history.name,
        # A line begins with its time and a "#"; "$" is the next character.
        FilterExpression="line < :until",
        ProjectionExpression="entity, line",
        ExpressionAttributeValues=to_item({":until": f"{closed.until}$"}),
    ):
        if not dry_run:
            delete_all(history, page["Items"])
        closed.records += len(page["Items"])
        on_progress("history records", page["ScannedCount"])
