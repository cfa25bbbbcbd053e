"""The daily reports in a DynamoDB table. Key: `page` and `row`.

While the reports are rebuilt there are two generations of every page; its key begins with the generation.

* `1#2026-11-20`: a day. Row `DAY` has the day's figures, `PRODUCT#<id>` those of a product.
* `1#placed#2026-11-20T10:00:00`: the sequence numbers of the events counted so far, of the orders placed in
  that second. A page is a log: each write that counts events appends a row, numbered from 1, on the
  condition that no such row exists. A writer that has read all rows and appends the next one knows that
  nothing else was counted meanwhile; of two concurrent writers, one is refused and reads again. Orders of
  one batch share a row, so that each costs a fraction of a write unit, and no row grows.
* `GENERATIONS`: the existing generations.

The index has the rows that count an order's first event, with their `counted`: all orders, by the second in
which they were placed. Its partition key is the page without the second, `1#placed`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from order_capture.adapters.dynamodb.transactions import conflicted, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.fields import integer, mapping, number, text
from order_capture.application.ports import OrderCursor
from order_capture.application.reports.ports import CountConflictError, Generations
from order_capture.domain.errors import UnreadableError
from order_capture.domain.events import OrderEventSummary, OrderEventType
from order_capture.domain.reports import Metric, Row, RowKey, aggregate_events, placed_second

logger = logging.getLogger(__name__)

GENERATIONS = to_item({"page": "GENERATIONS", "row": "GENERATIONS"})
FIRST_GENERATION = 1
MARKS = "placed#"
LIST_INDEX = "ListIndex"
_ROWS = 100  # read at a time: a row may have one order, or hundreds
_DAY, _PRODUCT = "DAY", "PRODUCT#"


class DynamoReportRepository:
    """Implements `application.reports.ports.ReportRepository`."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def generations(self) -> Generations:  # noqa: D102 - see the port
        answer = self._client.get_item(TableName=self._table, Key=GENERATIONS, ConsistentRead=True)
        values = from_item(answer.get("Item", {}))
        building = integer(values, "building") if "building" in values else None
        return Generations(integer(values, "current", FIRST_GENERATION), building)

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> int:  # noqa: D102
        of_pages: dict[str, dict[tuple[str, int], OrderEventSummary]] = {}
        for fact in facts:
            page = f"{generation}#{MARKS}{placed_second(fact)}"
            of_pages.setdefault(page, {})[fact.details.order_id, fact.change.sequence] = fact
        new: list[OrderEventSummary] = []
        marks: list[dict[str, Any]] = []
        for page, of_page in of_pages.items():
            counted, rows = self._counted(page)
            added = [fact for key, fact in of_page.items() if key not in counted]
            if added:
                marks.append(self._mark(page, rows + 1, added, forget))
                new += added
        if not new:
            return 0
        adds = [self._add(generation, key, figures) for key, figures in aggregate_events(new).items()]
        reasons = transact(self._client, marks + adds)
        if reasons is not None:
            conflicted(reasons)  # measures it
            raise CountConflictError
        return len(new)

    def rows(  # noqa: D102
        self, generation: int, day: str, after: RowKey | None, limit: int
    ) -> Sequence[Row]:
        after_row = None if after is None else _row(after)
        return [row_from(item) for item in self._page(f"{generation}#{day}", after_row, limit)]

    def list_placed(  # noqa: D102
        self, since: str, until: str, after: OrderCursor | None, limit: int
    ) -> Sequence[OrderCursor]:
        found: list[OrderCursor] = []
        last = until if after is None else min(until, after.create_time)
        for second, items in groupby(self._listed(since, last), key=_second):
            # Sorted by id, since a second may have several rows, and other rows in another generation.
            order_ids = sorted({order_id for item in items for order_id in _marked(item)})
            found += [
                OrderCursor(second, order_id)
                for order_id in order_ids
                if after is None or second < after.create_time or order_id > after.order_id
            ]
            if len(found) >= limit:
                break
        return found[:limit]

    def _listed(self, since: str, until: str) -> Iterator[Item]:
        """The index's rows of these seconds, newest first; rows of one second in any order."""
        if since > until:
            return  # DynamoDB refuses a BETWEEN that is the wrong way round
        listed = f"{self.generations().current}#{MARKS.removesuffix('#')}"
        more: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._table,
                IndexName=LIST_INDEX,
                KeyConditionExpression="listed = :listed AND page BETWEEN :since AND :until",
                ExpressionAttributeValues=to_item(
                    {":listed": listed, ":since": f"{listed}#{since}", ":until": f"{listed}#{until}"}
                ),
                ScanIndexForward=False,
                Limit=_ROWS,
                **more,
            )
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _page(self, page: str, after: str | None = None, limit: int | None = None) -> Iterator[Item]:
        """The rows of a page in their order: at most `limit` rows after `after`."""
        more = {} if after is None else {"ExclusiveStartKey": to_item({"page": page, "row": after})}
        found = 0
        while True:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="page = :page",
                ExpressionAttributeValues=to_item({":page": page}),
                ConsistentRead=True,
                **({} if limit is None else {"Limit": limit - found}),
                **more,
            )
            yield from answer["Items"]
            found += len(answer["Items"])
            # A page of rows may end early, at 1 MB.
            if "LastEvaluatedKey" not in answer or found == limit:
                return
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _counted(self, page: str) -> tuple[set[tuple[str, int]], int]:
        """The events of a page's orders that were counted, and the number of the page's last row."""
        counted: set[tuple[str, int]] = set()
        last = 0
        for item in self._page(page):
            for order_id, sequences in marks_from(item).items():
                counted |= {(order_id, sequence) for sequence in sequences}
            last = int(item["row"]["S"])
        return counted, last

    def _mark(self, page: str, row: int, facts: Sequence[OrderEventSummary], forget: str) -> dict[str, Any]:
        counted: dict[str, list[int]] = {}
        for fact in facts:
            counted.setdefault(fact.details.order_id, []).append(fact.change.sequence)
        # Each order has one first event. So no order is missing from the index, and few are in it twice.
        is_listed = any(fact.change.sequence == 1 for fact in facts)
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item(
                    {
                        "page": page,
                        "row": f"{row:06d}",
                        "counted": counted,
                        "time": max(fact.change.time for fact in facts),
                        "expiresAt": int(datetime.fromisoformat(forget).timestamp()),
                        "listed": page.rpartition("#")[0] if is_listed else None,
                    }
                ),
                "ConditionExpression": "attribute_not_exists(page)",
            }
        }

    def _add(self, generation: int, key: RowKey, figures: Mapping[Metric, Decimal]) -> dict[str, Any]:
        names = {f"#{index}": _name(figure) for index, figure in enumerate(figures)}
        values = {f":{index}": added for index, added in enumerate(figures.values())}
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item({"page": f"{generation}#{key.day}", "row": _row(key)}),
                "UpdateExpression": "ADD " + ", ".join(f"#{index} :{index}" for index in range(len(figures))),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": to_item(values),
            }
        }


def row_from(item: Item) -> Row:
    """The row in an item of a day's page.

    Raises:
        UnreadableError: the item does not have the form that this system writes.
    """
    values = from_item(item)
    day, row = text(values, "page").partition("#")[2], text(values, "row")
    key = RowKey(day, row.removeprefix(_PRODUCT) if row.startswith(_PRODUCT) else None)
    numbers = {name: number(values, name) for name in values.keys() - {"page", "row"}}
    return Row(key, {_figure(name): value for name, value in numbers.items() if value})


def marks_from(item: Item) -> dict[str, set[int]]:
    """The sequence numbers of the events counted in a row of marks, by order.

    Raises:
        UnreadableError: the item does not have the form that this system writes.
    """
    counted = mapping(from_item(item), "counted")
    marks: dict[str, set[int]] = {}
    for order_id, sequences in counted.items():
        if not isinstance(sequences, list) or not sequences:
            raise UnreadableError("counted must have a list of numbers for each order")
        marks[order_id] = {integer({"counted": each}, "counted") for each in sequences}
    return marks


def _second(item: Item) -> str:
    return str(item["page"]["S"].rpartition("#")[2])


def _marked(item: Item) -> Collection[str]:
    """The orders in a row of marks; none if it is malformed, since it must not block the other rows."""
    try:
        return marks_from(item).keys()
    except Exception:
        logger.exception("which orders were placed can't be read")
        return ()


def _row(key: RowKey) -> str:
    return _DAY if key.product_id is None else f"{_PRODUCT}{key.product_id}"


def _name(figure: Metric) -> str:
    """`orders#order.rejected#INSUFFICIENT_STOCK`."""
    return "#".join(part for part in figure if part is not None)


def _figure(name: str) -> Metric:
    try:
        measure, what, *reason = name.split("#")
        return Metric(measure, OrderEventType(what), *reason)
    except (ValueError, TypeError) as error:
        raise UnreadableError("a row has a figure that is not known") from error
