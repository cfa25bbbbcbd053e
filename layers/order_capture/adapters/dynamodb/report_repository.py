"""The daily reports in a DynamoDB table. Key: `page` and `row`.

There may be two generations of everything, while the reports are built anew: the page begins with its number.

* `1#2026-11-20`: a day. Row `DAY` has its figures, `PRODUCT#<id>` those of a product.
* `1#order#<orderId>`: the events of an order that were counted, a row each, under the event's id.
* `GENERATIONS`: which ones there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from order_capture.adapters.dynamodb.transactions import conflicted, refused, transact
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.serializers.fields import integer, number, text
from order_capture.application.reports.ports import AlreadyCountedError, Generations
from order_capture.domain.errors import UnreadableError
from order_capture.domain.events import OrderEventSummary, OrderEventType
from order_capture.domain.reports import Metric, Row, RowKey, aggregate_events

GENERATIONS = to_item({"page": "GENERATIONS", "row": "GENERATIONS"})
FIRST_GENERATION = 1
ORDER = "order#"
_DAY, _PRODUCT = "DAY", "PRODUCT#"


class DynamoReportRepository:
    """Implements `application.reports.ports.ReportRepository`."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def generations(self) -> Generations:  # noqa: D102 - the port says it
        answer = self._client.get_item(TableName=self._table, Key=GENERATIONS, ConsistentRead=True)
        values = from_item(answer.get("Item", {}))
        building = integer(values, "building") if "building" in values else None
        return Generations(integer(values, "current", FIRST_GENERATION), building)

    def count(self, generation: int, facts: Sequence[OrderEventSummary], forget: str) -> None:  # noqa: D102
        marks = [self._mark(generation, fact, forget) for fact in facts]
        adds = [self._add(generation, key, figures) for key, figures in aggregate_events(facts).items()]
        reasons = transact(self._client, marks + adds)
        if reasons is not None:
            counted = frozenset(facts[position].event_id for position, _ in refused(reasons))
            raise AlreadyCountedError(counted, conflicted(reasons))

    def rows(  # noqa: D102
        self, generation: int, day: str, after: RowKey | None, limit: int
    ) -> Sequence[Row]:
        page = f"{generation}#{day}"
        more = {} if after is None else {"ExclusiveStartKey": to_item({"page": page, "row": _row(after)})}
        items: list[Item] = []
        while True:
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="page = :page",
                ExpressionAttributeValues=to_item({":page": page}),
                ConsistentRead=True,
                Limit=limit - len(items),
                **more,
            )
            items += answer["Items"]
            # A page of rows may end early, at 1 MB.
            if "LastEvaluatedKey" not in answer or len(items) == limit:
                return [row_from(item) for item in items]
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _mark(self, generation: int, fact: OrderEventSummary, forget: str) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item(
                    {
                        "page": f"{generation}#{ORDER}{fact.details.order_id}",
                        "row": fact.event_id,
                        "sequence": fact.change.sequence,
                        "time": fact.change.time,
                        "expiresAt": int(datetime.fromisoformat(forget).timestamp()),
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
        UnreadableError: it is not as this system writes it.
    """
    values = from_item(item)
    day, row = text(values, "page").partition("#")[2], text(values, "row")
    key = RowKey(day, row.removeprefix(_PRODUCT) if row.startswith(_PRODUCT) else None)
    numbers = {name: number(values, name) for name in values.keys() - {"page", "row"}}
    return Row(key, {_figure(name): value for name, value in numbers.items() if value})


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
