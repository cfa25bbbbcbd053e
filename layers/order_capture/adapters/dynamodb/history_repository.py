"""The history of a ledger, in a DynamoDB table fed from its stream. Key: `entity` + `line` (time and name).

An item is a whole commit, or a declined hold. Its key is the same whichever function writes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from order_capture.adapters.dynamodb.ledger_repository import (
    BALANCE_ENTRY,
    balance_from,
    hold_from,
    price_from,
)
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.check_results import check_result_from, check_result_values
from order_capture.adapters.serializers.fields import choice, integer, mapping, number, text, time
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.application.retry import Retry
from order_capture.domain.errors import TransientError
from order_capture.domain.history import ChangeType, Commit, HistoryRecord, LedgerEntry, as_of, commit_of
from order_capture.domain.ledger import Balance, Hold
from order_capture.domain.order import Outcome

BATCH_WRITES = 25  # items that one BatchWriteItem takes
# How many lines one call reads to find the commit that covers a time. It is the first one, unless times
# overlap or lines are missing. If it is not among five hundred, it is missing itself.
COMMITS, MOST_CALLS = 20, 25


class DynamoHistoryRepository:
    """Implements `application.ledger.ports.HistoryRepository`."""

    def __init__(self, client: Any, table: str, key: str, retry: Retry) -> None:
        """`key` is the name of the partition key of the ledger's own table."""
        self._client = client
        self._table = table
        self._key = key
        self._retry = retry

    def put(self, lines: Sequence[HistoryRecord]) -> None:  # noqa: D102 - see the port
        items = list(
            {
                (item["entity"]["S"], item["line"]["S"]): item
                for item in (item_of(self._key, line) for line in lines)
            }.values()
        )
        for start in range(0, len(items), BATCH_WRITES):
            self._put([{"PutRequest": {"Item": item}} for item in items[start : start + BATCH_WRITES]])

    def transaction_at(self, entity: str, at: str) -> Commit | None:  # noqa: D102
        # The lines of one time begin with the time and "#"; "$" is the next character after "#".
        pages = self._pages(entity, "line > :from", f"{at}$", COMMITS, forward=True)
        for page in itertools.islice(pages, MOST_CALLS):
            commits = [line for item in page if isinstance(line := record_from_item(item), Commit)]
            if found := as_of(commits, at):
                return found
        return None

    def newest(self, entity: str, until: HistoryCursor | None, limit: int) -> Sequence[HistoryRecord]:  # noqa: D102
        # Every line begins with a digit, and ":" is the next character after "9".
        bound = f"{until.time}#{until.key}" if until else ":"
        for page in self._pages(entity, "line <= :from", bound, limit, forward=False):
            return [record_from_item(item) for item in page]
        return []

    def _pages(
        self, entity: str, condition: str, bound: str, limit: int, *, forward: bool
    ) -> Iterator[list[Item]]:
        more: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression=f"entity = :entity AND {condition}",
                ExpressionAttributeValues=to_item({":entity": f"{self._key}#{entity}", ":from": bound}),
                ScanIndexForward=forward,
                Limit=limit,
                ConsistentRead=True,
                **more,
            )
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _put(self, requests: list[dict[str, Any]]) -> None:
        for attempt in self._retry:
            answer = self._client.batch_write_item(RequestItems={self._table: requests})
            # A batch may be written only in part, with HTTP 200.
            requests = answer.get("UnprocessedItems", {}).get(self._table, [])
            if not requests:
                return
            attempt.back_off()
        raise TransientError("the history could not be written")


def item_of(key: str, line: HistoryRecord) -> Item:
    """The item of a line; `key` is the name of the partition key of the ledger's own table."""
    return to_item({"entity": f"{key}#{line.entity}", "line": f"{line.time}#{line.key}", **_values(line)})


def record_from_images(key: str, images: Mapping[str, Any]) -> HistoryRecord | None:
    """The line for a change in a ledger's table; `key` is the name of the table's partition key.

    None where no line is needed: an entry that changed the head is in the head's own line.
    """
    new, old = images.get("NewImage"), images.get("OldImage")
    if not new:
        return None
    entity, entry = new[key]["S"], new["entry"]["S"]
    if entry == BALANCE_ENTRY:
        values = from_item(new)
        entries = {}
        # An unchanged value was left by a release that does not write it: no entry is written twice.
        if "lastEntries" in new and not (old and old.get("lastEntries") == new["lastEntries"]):
            named = mapping(values, "lastEntries")
            entries = {name: number(named, name) for name in named}
        before = balance_from(from_item(old)) if old else None
        return commit_of(entity, before, balance_from(values), entries)
    if entry.startswith("HOLD#"):
        values = from_item(new)
        if choice(values, "outcome", Outcome) is Outcome.DECLINED:
            return hold_from(entry.partition("#")[2], values)
    return None


def record_from_item(item: Item) -> HistoryRecord:
    """The line in an item.

    Raises:
        UnreadableError: the item does not have the form that this system writes.
    """
    values = from_item(item)
    entity = text(values, "entity").partition("#")[2]
    at, _, key = text(values, "line").partition("#")
    if "version" not in values:
        return Hold(entity, key.partition("#")[2], {}, check_result_from(values), at)
    figures = number(values, "balance"), number(values, "held"), number(values, "settled")
    amounts = mapping(values, "changes")
    changes = tuple(
        LedgerEntry(choice({"changes": kind}, "changes", ChangeType), number(amounts, name), entry_id or None)
        for name in sorted(amounts)
        for kind, _, entry_id in (name.partition("#"),)
    )
    price = price_from(values)
    head = Balance(
        *figures,
        integer(values, "version"),
        at,
        deleted="deleted" in values,
        price=price,
        stripes=integer(values, "stripes", 0),
    )
    return Commit(
        entity,
        changes,
        head,
        time(values, "since", ""),
        "wasDeleted" in values,
        price_from(values, "priceBefore"),
        integer(values, "stripesBefore", 0),
    )


def _values(line: HistoryRecord) -> dict[str, Any]:
    if isinstance(line, Hold):
        return check_result_values(line.decision)
    return {
        "balance": line.after.balance,
        "held": line.after.held,
        "settled": line.after.settled,
        "version": line.after.version,
        "since": line.previous_time,
        "changes": {change.key: change.amount for change in line.changes},
        "deleted": 1 if line.after.deleted else None,  # left out unless it is deleted, as in the ledger
        "wasDeleted": 1 if line.was_deleted else None,
        "price": line.after.price,
        "priceBefore": line.price_before,
        "stripes": line.after.stripes or None,
        "stripesBefore": line.stripes_before or None,
    }
