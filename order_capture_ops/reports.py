"""The daily reports against the orders: build them anew, and say where they differ.

What happened to an order is in its own log, so the order table implies every event, with its id and time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

import botocore.exceptions

from order_capture.adapters.dynamodb.report_repository import (
    FIRST_GENERATION,
    GENERATIONS,
    ORDER,
    DynamoReportRepository,
    row_from,
)
from order_capture.adapters.dynamodb.transactions import MAX_ITEMS
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.messaging.envelopes import event_id
from order_capture.adapters.serializers.fields import integer, time
from order_capture.adapters.system import backoff, clock
from order_capture.application.reports.project_reports import MAX_EVENT_AGE, ProjectReports
from order_capture.application.retry import Retry
from order_capture.domain.events import OrderEventSummary, status_changes
from order_capture.domain.reports import Metric, RowKey, Rows, aggregate_events
from order_capture.domain.times import format_utc
from order_capture_ops.audit import Difference
from order_capture_ops.stack import Stack, StackError
from order_capture_ops.tables import UNREADABLE, Order, OrderTable, Table, is_order, read_order

PATIENCE = 60.0
"""Seconds that an event may take to be counted: it normally takes less than one."""

MAX_EVENTS = 100  # far more than an order can have
_DELETED = 25  # what DynamoDB's batch write takes in one call

Tick = Callable[[str, int], None]


@dataclass
class Rebuilt:
    """What the reports were built from."""

    orders: int = 0
    events: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Orders that are not as the functions write them, and are not counted: `audit` says more."""


@dataclass
class ReportsReport:
    """What was compared, and what differs."""

    orders: int = 0
    events: int = 0
    rows: int = 0
    differences: list[Difference] = field(default_factory=list)


def facts_of(order: Order) -> list[OrderEventSummary]:
    """Every event that an order has had."""
    return [
        OrderEventSummary(event_id(moment.type, order.order_id), moment, order.details)
        for moment in status_changes(order.logs)
    ]


def rebuild_reports(where: Stack, tick: Tick = lambda *_: None) -> Rebuilt:
    """Build the reports anew from the orders, while everything runs, and have them read from then on.

    From the moment that the new generation is announced, report_projector counts in both, and whatever is
    counted in both ways, from the order and from its event, is counted once, by its mark. What the projector
    is still counting in the old one alone was written to its order before the announcement, so it is found
    there. The old generation stays until the next rebuild: it may still be being read.

    Raises:
        StackError: another rebuild was begun meanwhile, and goes on.
        TemporaryError: the table is too busy; it may be run again, from the start.
    """
    table = Table(where.client("dynamodb"), where.output("ReportTableName"))
    orders = OrderTable(table.client, where.output("OrderTableName"))
    reports = DynamoReportRepository(table.client, table.name)
    projector = ProjectReports(reports, MAX_ITEMS, clock, Retry(backoff))
    rebuilt = Rebuilt()
    _sweep(table, reports.generations().current, tick)
    generation = _announce(table)
    for page in _orders(orders, rebuilt.unreadable):
        facts = [fact for order in page for fact in facts_of(order)]
        _count(projector, generation, facts, tick)
        rebuilt.orders += len(page)
        rebuilt.events += len(facts)
    _switch(table, generation)
    return rebuilt


def _count(projector: ProjectReports, generation: int, facts: list[OrderEventSummary], tick: Tick) -> None:
    for group in projector.groups(facts):
        projector.count(generation, group)
        tick("events", len(group))


def check_reports(where: Stack, patience: float = PATIENCE, tick: Tick = lambda *_: None) -> ReportsReport:
    """Compare the reports with what the orders imply, on a system that may be running.

    The figures only ever grow. So each must be at least what had happened `patience` seconds before the
    reports were read, and at most what has happened when the orders are read, after that; once everything is
    older than `patience`, both are the same.
    """
    table = Table(where.client("dynamodb"), where.output("ReportTableName"))
    orders = OrderTable(table.client, where.output("OrderTableName"))
    generation = DynamoReportRepository(table.client, table.name).generations().current
    report = ReportsReport()
    now = datetime.now(UTC)
    settled = format_utc(now - timedelta(seconds=patience))
    found, gaps = _read(table, generation, settled, format_utc(now - MAX_EVENT_AGE), tick)
    least: Rows = defaultdict(lambda: defaultdict(Decimal))
    most: Rows = defaultdict(lambda: defaultdict(Decimal))
    unreadable: list[str] = []
    for page in _orders(orders, unreadable):
        facts = [fact for order in page for fact in facts_of(order)]
        _add(most, aggregate_events(facts))
        _add(least, aggregate_events(fact for fact in facts if fact.moment.time <= settled))
        report.orders += len(page)
        report.events += len(facts)
        tick("orders", len(page))
    report.rows = len(found)
    for key in sorted({*most, *found}, key=lambda key: (key.day, key.product_id or "")):
        for figure in sorted({*most.get(key, ()), *found.get(key, ())}):
            low, high = (rows.get(key, {}).get(figure, Decimal(0)) for rows in (least, most))
            actual = found.get(key, {}).get(figure, Decimal(0))
            if not low <= actual <= high:
                expected = f"{low:f}" if low == high else f"{low:f} to {high:f}"
                what = " ".join(part for part in figure if part)
                report.differences.append(Difference(_label(key), what, expected, f"{actual:f}"))
    report.differences += gaps
    report.differences += [_unreadable(f"order {order_id}") for order_id in unreadable]
    return report


def _read(
    table: Table, generation: int, settled: str, remembered: str, tick: Tick
) -> tuple[dict[RowKey, Mapping[Metric, Decimal]], list[Difference]]:
    """The rows, and the orders of which a later event was counted while an earlier one is missing.

    The second needs nothing but the events' own sequence: any consumer can find its gaps like that.
    """
    rows: dict[RowKey, Mapping[Metric, Decimal]] = {}
    gaps: list[Difference] = []
    own = f"{generation}#"
    items = (item for page in table.pages() for item in page if item["page"]["S"].startswith(own))
    for name, group in groupby(items, key=lambda item: item["page"]["S"].removeprefix(own)):
        found = list(group)
        tick("reports", len(found))
        if name.startswith(ORDER):
            label = f"order {name.removeprefix(ORDER)}"
            try:
                marks = [(time(mark, "time"), integer(mark, "sequence")) for mark in map(from_item, found)]
            except UNREADABLE:
                gaps.append(_unreadable(f"{label}, what was counted of it"))
                continue
            # Of an order from long ago, some events may be forgotten already, and others not.
            last = max((sequence for at, sequence in marks if remembered <= at <= settled), default=0)
            if last > MAX_EVENTS:
                gaps.append(Difference(label, "number of an event", f"at most {MAX_EVENTS}", str(last)))
            elif missing := sorted({*range(1, last)} - {sequence for _, sequence in marks}):
                gaps.append(
                    Difference(label, f"events before number {last}", "counted", f"{missing} missing")
                )
            continue
        for item in found:
            try:
                row = row_from(item)
            except UNREADABLE:
                gaps.append(_unreadable(f"{name} {item['row']['S']}"))
            else:
                rows[row.key] = row.figures
    return rows, gaps


def _orders(orders: OrderTable, unreadable: list[str]) -> Iterator[list[Order]]:
    """All orders that can be read, a page at a time; `unreadable` gets the ids of the others."""
    for page in orders.pages():
        found = [(item["orderId"]["S"], read_order(item)) for item in page if is_order(item)]
        unreadable += [order_id for order_id, order in found if order is None]
        yield [order for _, order in found if order]


def _unreadable(what: str) -> Difference:
    return Difference(what, "item", "as the functions write it", "unreadable")


def _announce(table: Table) -> int:
    """Have the projector count in a new generation as well; a rebuild that did not end is given up."""
    values = table.client.update_item(
        TableName=table.name,
        Key=GENERATIONS,
        # Numbers are never used twice: a projector that is slow may still write under an old one.
        UpdateExpression="SET building = if_not_exists(#last, :first) + :one, "
        "#last = if_not_exists(#last, :first) + :one",
        ExpressionAttributeNames={"#last": "last"},
        ExpressionAttributeValues=to_item({":first": FIRST_GENERATION, ":one": 1}),
        ReturnValues="ALL_NEW",
    )["Attributes"]
    return int(values["building"]["N"])


def _switch(table: Table, generation: int) -> None:
    """Have the new generation read."""
    try:
        table.client.update_item(
            TableName=table.name,
            Key=GENERATIONS,
            UpdateExpression="SET #current = :new REMOVE building",
            ConditionExpression="building = :new",
            ExpressionAttributeNames={"#current": "current"},
            ExpressionAttributeValues=to_item({":new": generation}),
        )
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        raise StackError("Another rebuild was begun after this one, which is given up.") from error


def _sweep(table: Table, current: int, tick: Tick) -> None:
    """Delete what is of no use any more: all generations but the one that is read."""
    for page in table.pages():
        old: list[Item] = [
            {"page": item["page"], "row": item["row"]}
            for item in page
            if item["page"] != GENERATIONS["page"] and not item["page"]["S"].startswith(f"{current}#")
        ]
        for start in range(0, len(old), _DELETED):
            requests = [{"DeleteRequest": {"Key": key}} for key in old[start : start + _DELETED]]
            while requests:
                answer = table.client.batch_write_item(RequestItems={table.name: requests})
                requests = answer.get("UnprocessedItems", {}).get(table.name, [])
            tick("old rows", len(old[start : start + _DELETED]))


def _add(rows: Rows, more: Rows) -> None:
    for key, figures in more.items():
        for figure, number in figures.items():
            rows[key][figure] += number


def _label(key: RowKey) -> str:
    return key.day if key.product_id is None else f"{key.day} {key.product_id}"
