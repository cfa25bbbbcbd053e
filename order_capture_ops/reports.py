"""Compare the daily reports with the orders, or rebuild them from the orders.

An order's timeline is complete, so every event can be derived from the order table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

import botocore.exceptions

from order_capture.adapters.dynamodb.report_repository import (
    FIRST_GENERATION,
    GENERATIONS,
    MARKS,
    DynamoReportRepository,
    marks_from,
    row_from,
)
from order_capture.adapters.dynamodb.transactions import MAX_ITEMS
from order_capture.adapters.dynamodb.types import Item, from_item, to_item
from order_capture.adapters.messaging.envelopes import event_id
from order_capture.adapters.serializers.fields import time
from order_capture.adapters.system import backoff, clock
from order_capture.application.reports.project_reports import MAX_EVENT_AGE, ProjectReports
from order_capture.application.retry import Retry
from order_capture.domain.events import OrderEventSummary, event_type
from order_capture.domain.reports import Metric, RowKey, Rows, aggregate_events
from order_capture.domain.times import format_utc
from order_capture_ops.audit import Difference
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack, StackError
from order_capture_ops.tables import (
    UNREADABLE,
    OrderTable,
    StoredOrder,
    Table,
    Tables,
    is_order,
    read_order,
)

GRACE_PERIOD = 60.0
"""Seconds within which an event must be counted. Normally it takes less than one."""

MAX_EVENTS = 100  # far more than an order can have
_BATCH_WRITES = 25  # requests in one BatchWriteItem call


@dataclass
class RebuiltReports:
    """The data that the reports were built from."""

    orders: int = 0
    events: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Malformed orders, which are not counted; see `audit`."""


@dataclass
class ReportsComparison:
    """The number of compared items, and the differences."""

    orders: int = 0
    events: int = 0
    rows: int = 0
    differences: list[Difference] = field(default_factory=list)


def event_summaries(order: StoredOrder) -> list[OrderEventSummary]:
    """All events of an order."""
    return [
        OrderEventSummary(
            event_id(event_type(change.status), order.order_id), change, order.details, order.create_time
        )
        for change in order.transitions
    ]


def rebuild_reports(stack: Stack, on_progress: ProgressCallback = lambda *_: None) -> RebuiltReports:
    """Build a new generation of the reports from the orders, on a running system, and switch to it.

    Once the new generation is announced, report_projector counts in both. Its mark ensures that an event
    counts once, even if counted both from its order and from its message. If the projector still counts an
    event only in the old generation, its order was written before the announcement, so it is found here. The
    old generation is kept until the next rebuild, since it may still be read.

    Days with deleted orders are copied from the old generation. Their events are too old to be counted
    (`MAX_EVENT_AGE`), so these rows no longer change.

    Raises:
        StackError: another rebuild was started meanwhile, and continues.
        TransientError: the table is too busy; it may be run again, from the start.
    """
    table = Table(stack.client("dynamodb"), stack.output("ReportTableName"))
    orders = OrderTable(table.client, stack.output("OrderTableName"))
    reports = DynamoReportRepository(table.client, table.name)
    projector = ProjectReports(reports, MAX_ITEMS, clock, Retry(backoff))
    rebuilt = RebuiltReports()
    current = reports.generations().current
    _delete_old_generations(table, current, on_progress)
    generation = _announce(table)
    closed = _last_closed_day(stack)
    _copy_days(table, current, generation, closed, on_progress)
    for page in _orders(orders, rebuilt.unreadable):
        events = [
            event for order in page for event in event_summaries(order) if event.change.time[:10] > closed
        ]
        _count(projector, generation, events, on_progress)
        rebuilt.orders += len(page)
        rebuilt.events += len(events)
    _switch(table, generation)
    return rebuilt


def _count(
    projector: ProjectReports,
    generation: int,
    events: list[OrderEventSummary],
    on_progress: ProgressCallback,
) -> None:
    for group in projector.groups(events):
        projector.count(generation, group)
        on_progress("events", len(group))


def check_reports(
    stack: Stack, grace_period: float = GRACE_PERIOD, on_progress: ProgressCallback = lambda *_: None
) -> ReportsComparison:
    """Compare the reports with the orders, on a system that may be running.

    Metrics only ever grow. So each must be at least the number of events that were `grace_period` seconds old
    when the reports were read, and at most the number of events when the orders are read, after that. Once
    all events are older than `grace_period`, the two are the same.
    """
    table = Table(stack.client("dynamodb"), stack.output("ReportTableName"))
    orders = OrderTable(table.client, stack.output("OrderTableName"))
    generation = DynamoReportRepository(table.client, table.name).generations().current
    report = ReportsComparison()
    now = datetime.now(UTC)
    settled = format_utc(now - timedelta(seconds=grace_period))
    closed = _last_closed_day(stack)
    actual_rows, gaps = _read(table, generation, settled, format_utc(now - MAX_EVENT_AGE), on_progress)
    lower: Rows = defaultdict(lambda: defaultdict(Decimal))
    upper: Rows = defaultdict(lambda: defaultdict(Decimal))
    unreadable: list[str] = []
    for page in _orders(orders, unreadable):
        events = [event for order in page for event in event_summaries(order)]
        _add(upper, aggregate_events(events))
        _add(lower, aggregate_events(event for event in events if event.change.time <= settled))
        report.orders += len(page)
        report.events += len(events)
        on_progress("orders", len(page))
    report.rows = len(actual_rows)
    for key in sorted({*upper, *actual_rows}, key=lambda key: (key.day, key.product_id or "")):
        for metric in sorted({*upper.get(key, ()), *actual_rows.get(key, ())}):
            low, high = (rows.get(key, {}).get(metric, Decimal(0)) for rows in (lower, upper))
            actual = actual_rows.get(key, {}).get(metric, Decimal(0))
            if key.day <= closed:  # some of its orders are deleted
                high = max(high, actual)
            if not low <= actual <= high:
                expected = f"{low:f}" if low == high else f"{low:f} to {high:f}"
                what = " ".join(part for part in metric if part)
                report.differences.append(Difference(_label(key), what, expected, f"{actual:f}"))
    report.differences += gaps
    report.differences += [_unreadable(f"order {order_id}") for order_id in unreadable]
    return report


def _last_closed_day(stack: Stack) -> str:
    """The last day whose books are closed, so that its orders may be deleted; "" if there is none."""
    return Tables.of(stack).accounts.closed_until()[: len("2026-11-29")]


def _copy_days(table: Table, current: int, generation: int, last: str, on_progress: ProgressCallback) -> None:
    """Copy the days up to `last` to a new generation."""
    prefix = f"{current}#"
    for page in table.pages() if last else ():
        copies: list[Item] = []
        for item in page:
            day = item["page"]["S"].removeprefix(prefix)
            if item["page"]["S"].startswith(prefix) and day <= last:  # "placed#…" is greater than any
                copies.append({**item, "page": {"S": f"{generation}#{day}"}})
        for start in range(0, len(copies), _BATCH_WRITES):
            requests = [{"PutRequest": {"Item": item}} for item in copies[start : start + _BATCH_WRITES]]
            while requests:
                response = table.client.batch_write_item(RequestItems={table.name: requests})
                requests = response.get("UnprocessedItems", {}).get(table.name, [])
            on_progress("rows of closed days", len(copies[start : start + _BATCH_WRITES]))


def _read(
    table: Table, generation: int, settled: str, remembered: str, on_progress: ProgressCallback
) -> tuple[dict[RowKey, Mapping[Metric, Decimal]], list[Difference]]:
    """The rows, and the orders with a gap: a later event was counted while an earlier one is missing.

    The events' sequence numbers suffice to find gaps, so every consumer can find its own the same way.
    """
    rows: dict[RowKey, Mapping[Metric, Decimal]] = {}
    gaps: list[Difference] = []
    prefix = f"{generation}#"
    items = (item for page in table.pages() for item in page if item["page"]["S"].startswith(prefix))
    for name, group in groupby(items, key=lambda item: item["page"]["S"].removeprefix(prefix)):
        found = list(group)
        on_progress("reports", len(found))
        if name.startswith(MARKS):
            placed = name.removeprefix(MARKS)
            # Some marks of older orders may have expired.
            if placed >= remembered[: len(placed)]:
                gaps += _gaps(placed, found, settled)
            continue
        for item in found:
            try:
                row = row_from(item)
            except UNREADABLE:
                gaps.append(_unreadable(f"{name} {item['row']['S']}"))
            else:
                rows[row.key] = row.figures
    return rows, gaps


def _gaps(placed: str, items: list[Item], settled: str) -> Iterator[Difference]:
    """The gaps in the events of the orders that were placed in that second."""
    counted: dict[str, set[int]] = defaultdict(set)
    last: dict[str, int] = {}
    for item in items:
        try:
            at, marks = time(from_item(item), "time"), marks_from(item)
        except UNREADABLE:
            yield _unreadable(f"orders placed at {placed}, their counted events")
            return
        for order_id, sequences in marks.items():
            counted[order_id] |= sequences
            if at <= settled:  # the time of the latest event that is marked in the item
                last[order_id] = max(last.get(order_id, 0), *sequences)
    for order_id, highest in sorted(last.items()):
        label = f"order {order_id}"
        if highest > MAX_EVENTS:
            yield Difference(label, "number of an event", f"at most {MAX_EVENTS}", str(highest))
        elif missing := sorted({*range(1, highest)} - counted[order_id]):
            yield Difference(label, f"events before number {highest}", "counted", f"{missing} missing")


def _orders(orders: OrderTable, unreadable: list[str]) -> Iterator[list[StoredOrder]]:
    """All readable orders, a page at a time; the ids of the others are appended to `unreadable`."""
    for page in orders.pages():
        found = [(item["orderId"]["S"], read_order(item)) for item in page if is_order(item)]
        unreadable += [order_id for order_id, order in found if order is None]
        yield [order for _, order in found if order]


def _unreadable(entity: str) -> Difference:
    return Difference(entity, "item", "as the functions write it", "unreadable")


def _announce(table: Table) -> int:
    """Have the projector also count in a new generation; an unfinished rebuild is abandoned."""
    values = table.client.update_item(
        TableName=table.name,
        Key=GENERATIONS,
        # Numbers are never reused, since a slow projector may still write to an old generation.
        UpdateExpression="SET building = if_not_exists(#last, :first) + :one, "
        "#last = if_not_exists(#last, :first) + :one",
        ExpressionAttributeNames={"#last": "last"},
        ExpressionAttributeValues=to_item({":first": FIRST_GENERATION, ":one": 1}),
        ReturnValues="ALL_NEW",
    )["Attributes"]
    return int(values["building"]["N"])


def _switch(table: Table, generation: int) -> None:
    """Make the new generation the current one."""
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
        raise StackError("A later rebuild was started, so this one was abandoned.") from error


def _delete_old_generations(table: Table, current: int, on_progress: ProgressCallback) -> None:
    """Delete all generations but the current one."""
    for page in table.pages():
        old: list[Item] = [
            {"page": item["page"], "row": item["row"]}
            for item in page
            if item["page"] != GENERATIONS["page"] and not item["page"]["S"].startswith(f"{current}#")
        ]
        for start in range(0, len(old), _BATCH_WRITES):
            requests = [{"DeleteRequest": {"Key": key}} for key in old[start : start + _BATCH_WRITES]]
            while requests:
                response = table.client.batch_write_item(RequestItems={table.name: requests})
                requests = response.get("UnprocessedItems", {}).get(table.name, [])
            on_progress("old rows", len(old[start : start + _BATCH_WRITES]))


def _add(rows: Rows, more: Rows) -> None:
    for key, metrics in more.items():
        for metric, number in metrics.items():
            rows[key][metric] += number


def _label(key: RowKey) -> str:
    return key.day if key.product_id is None else f"{key.day} {key.product_id}"
