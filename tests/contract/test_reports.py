"""What the daily reports count."""

from __future__ import annotations

import itertools
import threading
from decimal import Decimal
from typing import Any

import pytest

from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository
from order_capture.adapters.dynamodb.transactions import MAX_ITEMS
from order_capture.adapters.system import backoff
from order_capture.application.ports import OrderCursor
from order_capture.application.reports.ports import CountConflictError, Generations, ReportRepository
from order_capture.application.reports.project_reports import ProjectReports
from order_capture.application.retry import Retry
from order_capture.domain.events import OrderEventSummary, OrderEventType
from order_capture.domain.reports import Metric, RowKey, aggregate_events
from tests.support.factories import NOW, details_of, fact_of
from tests.support.stores import Stores
from tests.support.tables import create_tables

DAY = "2026-11-20"
FORGET = "2027-01-19T10:00:00+00:00"
_numbers = itertools.count(1)


def projector(reports: ReportRepository) -> ProjectReports:
    return ProjectReports(reports, MAX_ITEMS, lambda: NOW, Retry(backoff))


def stored(client: Any) -> DynamoReportRepository:
    return DynamoReportRepository(client, create_tables(client, f"-reports-{next(_numbers)}")["ReportTable"])


@pytest.fixture
def reports(stores: Stores) -> ReportRepository:
    return stores.reports


def facts() -> list[OrderEventSummary]:
    """All kinds of events: several lines of one product, cents, a reason, another day."""
    order = details_of("order-1", items=(("pen", 2), ("ink", 1), ("pen", 3)), total="0.10")
    return [
        fact_of(details=order),
        fact_of(OrderEventType.CONFIRMED, order, sequence=2),
        fact_of(OrderEventType.SHIPPED, order, "2026-11-21T00:00:00.000Z", 3),
        fact_of(details=details_of("order-2", total="0.20")),
        fact_of(OrderEventType.REJECTED, details_of("order-2"), sequence=2, reason="UNKNOWN_PRODUCT"),
    ]


def test_what_is_counted_is_there_day_by_day_and_by_product(reports: ReportRepository) -> None:
    reports.count(1, facts()[:3], FORGET)
    reports.count(1, facts()[3:], FORGET)

    rows = {row.key: row.figures for day in (DAY, "2026-11-21") for row in reports.rows(1, day, None, 100)}

    assert rows == aggregate_events(facts())
    assert rows[RowKey(DAY)][Metric("amount", OrderEventType.PLACED)] == Decimal("0.30")


def test_events_that_were_counted_are_not_counted_again_and_the_others_are(reports: ReportRepository) -> None:
    first, second, third, *others = facts()

    assert reports.count(1, [first], FORGET) == 1
    assert reports.count(1, [third, first, *others], FORGET) == 1 + len(others)
    assert reports.count(1, [second, first, second], FORGET) == 1
    assert reports.count(1, facts(), FORGET) == 0

    rows = {row.key: row.figures for day in (DAY, "2026-11-21") for row in reports.rows(1, day, None, 100)}
    assert rows == aggregate_events(facts())


def test_orders_of_different_seconds_are_counted_in_one_write(reports: ReportRepository) -> None:
    seconds = [fact_of(details=details_of(f"order-{n}"), placed=f"{DAY}T10:00:{n:02}.999Z") for n in range(9)]

    assert reports.count(1, seconds, FORGET) == 9
    assert reports.count(1, seconds[4:], FORGET) == 0

    assert reports.rows(1, DAY, None, 1)[0].figures[Metric("orders", OrderEventType.PLACED)] == 9


def test_nothing_is_counted_if_another_is_quicker(moto_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN that another function counts an event between the read of the marks and the write
    reports, (first, second, *_) = stored(moto_client), facts()
    real, quicker = reports._counted, [True]

    def read(page: str) -> Any:
        answer = real(page)
        if quicker.pop() if quicker else False:
            reports.count(1, [first], FORGET)
        return answer

    monkeypatch.setattr(reports, "_counted", read)

    # WHEN the same second is written
    with pytest.raises(CountConflictError):
        reports.count(1, [first, second], FORGET)

    # THEN only the faster one has counted, and the next attempt counts the rest
    assert {row.key: row.figures for row in reports.rows(1, DAY, None, 100)} == aggregate_events([first])
    assert reports.count(1, [first, second], FORGET) == 1


def test_generations_know_nothing_of_each_other(reports: ReportRepository) -> None:
    first, second, *_ = facts()
    reports.count(1, [first], FORGET)
    reports.count(2, [first, second], FORGET)

    assert {row.key: row.figures for row in reports.rows(1, DAY, None, 100)} == aggregate_events([first])
    assert {row.key: row.figures for row in reports.rows(2, DAY, None, 100)} == aggregate_events(
        [first, second]
    )


def test_the_first_generation_is_there_without_anybody_saying_so(reports: ReportRepository) -> None:
    assert reports.generations() == Generations(1)


def test_rows_come_the_day_first_and_then_by_product_from_anywhere_on(reports: ReportRepository) -> None:
    names = ["~", "A", "a", "10", "9", "+", "pen-1", "pen.1", "pen"]
    reports.count(1, [fact_of(details=details_of(items=tuple((name, 1) for name in names)))], FORGET)
    expected = [RowKey(DAY), *(RowKey(DAY, name) for name in sorted(names))]

    assert [row.key for row in reports.rows(1, DAY, None, 100)] == expected
    for limit in (1, 3, len(expected)):
        for start, after in enumerate(expected, start=1):
            found = [row.key for row in reports.rows(1, DAY, after, limit)]
            assert found == expected[start : start + limit]
    assert reports.rows(1, "2026-11-19", None, 100) == []


def test_the_largest_event_is_one_write(reports: ReportRepository) -> None:
    order = details_of(items=tuple((f"product-{n}", 100_000) for n in range(50)), total="999999999.99")

    reports.count(1, [fact_of(details=order)], FORGET)

    assert len(reports.rows(1, DAY, None, 100)) == 51


def test_a_full_group_is_one_write(reports: ReportRepository) -> None:
    (group,) = projector(reports).groups(
        fact_of(details=details_of(f"order-{n}"), placed=f"{DAY}T10:{n // 60:02}:{n % 60:02}.000Z")
        for n in range(98)
    )

    reports.count(1, group, FORGET)

    assert reports.rows(1, DAY, None, 1)[0].figures[Metric("orders", OrderEventType.PLACED)] == 98


def test_a_mark_is_forgotten_in_time(moto_client: Any) -> None:
    reports = stored(moto_client)
    reports.count(1, facts()[:1], FORGET)

    items = moto_client.scan(TableName=reports._table)["Items"]

    (mark,) = (item for item in items if "expiresAt" in item)
    assert mark["page"] == {"S": "1#placed#2026-11-20T10:00:00"}
    assert (mark["row"], mark["time"]) == ({"S": "000001"}, {"S": NOW})
    assert mark["counted"] == {"M": {"order-1": {"L": [{"N": "1"}]}}}
    assert mark["expiresAt"] == {"N": "1800352800"}  # seconds, as DynamoDB wants it: 2027-01-19T10:00:00Z
    assert all("expiresAt" not in item for item in items if "placed#" not in item["page"]["S"])


def test_eight_at_once_count_each_event_once(dynamodb_local_client: Any) -> None:
    reports = stored(dynamodb_local_client)
    all_facts = [fact_of(details=details_of(f"order-{n}", total="0.01")) for n in range(100)]
    together = threading.Barrier(8)
    problems: list[Exception] = []

    def project(number: int) -> None:
        own = all_facts[number * 10 :] + all_facts[: number * 10]
        together.wait()
        try:
            for start in range(0, 100, 10):
                projector(reports).count(1, own[start : start + 10])
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=project, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert {row.key: row.figures for row in reports.rows(1, DAY, None, 100)} == aggregate_events(all_facts)


def placed_at(order_id: str, second: int, kind: OrderEventType = OrderEventType.PLACED) -> OrderEventSummary:
    sequence = 1 if kind is OrderEventType.PLACED else 2
    return fact_of(kind, details_of(order_id), sequence=sequence, placed=f"2026-11-20T10:00:{second:02}.500Z")


def place(order_id: str, second: int) -> OrderCursor:
    return OrderCursor(f"2026-11-20T10:00:{second:02}", order_id)


SINCE, UNTIL = "2026-11-20T10:00:00", "2026-11-20T10:00:59"


class TestPlacedOrders:
    """What `list_placed` promises."""

    def test_come_the_newest_second_first_and_in_it_by_id_in_however_many_rows(
        self, reports: ReportRepository
    ) -> None:
        reports.count(1, [placed_at("b", 1), placed_at("d", 2)], FORGET)
        reports.count(1, [placed_at("c", 1)], FORGET)
        reports.count(1, [placed_at("a", 1), placed_at("b", 1, OrderEventType.CONFIRMED)], FORGET)

        assert reports.list_placed(SINCE, UNTIL, None, 10) == [
            *(place("d", 2), place("a", 1), place("b", 1), place("c", 1))
        ]

    def test_are_those_whose_first_event_was_counted(self, reports: ReportRepository) -> None:
        reports.count(1, [placed_at("a", 1, OrderEventType.CONFIRMED)], FORGET)
        assert reports.list_placed(SINCE, UNTIL, None, 10) == []

        reports.count(1, [placed_at("a", 1)], FORGET)
        assert reports.list_placed(SINCE, UNTIL, None, 10) == [place("a", 1)]

    def test_are_of_the_seconds_that_are_asked_for_both_included(self, reports: ReportRepository) -> None:
        reports.count(1, [placed_at(f"order-{second}", second) for second in range(5)], FORGET)

        found = reports.list_placed("2026-11-20T10:00:01", "2026-11-20T10:00:03", None, 10)

        assert found == [place(f"order-{second}", second) for second in (3, 2, 1)]
        assert reports.list_placed(UNTIL, SINCE, None, 10) == []

    def test_go_on_where_the_last_page_ended(self, reports: ReportRepository) -> None:
        for order_id in ("e", "a", "c", "b", "d"):  # a row each
            reports.count(1, [placed_at(order_id, 1)], FORGET)
        reports.count(1, [placed_at("f", 0), placed_at("g", 2)], FORGET)
        after, pages = None, list[list[str]]()

        while page := reports.list_placed(SINCE, UNTIL, after, 3):
            pages.append([each.order_id for each in page])
            after = page[-1]

        assert pages == [["g", "a", "b"], ["c", "d", "e"], ["f"]]

    def test_are_those_of_the_generation_that_is_read(self, reports: ReportRepository) -> None:
        reports.count(2, [placed_at("a", 1)], FORGET)
        assert reports.list_placed(SINCE, UNTIL, None, 10) == []

        reports.count(1, [placed_at("a", 1)], FORGET)
        assert reports.list_placed(SINCE, UNTIL, None, 10) == [place("a", 1)]

    def test_are_found_in_more_rows_than_are_read_at_once(self, reports: ReportRepository) -> None:
        for number in range(105):
            reports.count(1, [placed_at(f"order-{number:03}", number % 2)], FORGET)

        found = [each.order_id for each in reports.list_placed(SINCE, UNTIL, None, 1_000)]

        assert found == [f"order-{number:03}" for number in (*range(1, 105, 2), *range(0, 105, 2))]
