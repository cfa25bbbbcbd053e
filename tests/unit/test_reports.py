"""The daily reports: what each event adds, and that each is counted once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from order_capture.adapters.dynamodb.report_repository import GENERATIONS, DynamoReportRepository
from order_capture.adapters.messaging import envelopes
from order_capture.application.messages import OrderEventMessage, ReceivedOrderEvent
from order_capture.application.reports.get_reports import GetReports
from order_capture.application.reports.project_reports import ProjectReports
from order_capture.application.retry import Retry
from order_capture.domain.errors import InvalidMessageError
from order_capture.domain.events import OrderEvent, OrderEventSummary, OrderEventType
from order_capture.domain.order import (
    PUBLISH_FAILED,
    CheckType,
    DeclineCode,
    Order,
    OrderStatus,
    StatusChange,
)
from order_capture.domain.reports import Metric, RowKey, aggregate_events
from order_capture.entrypoints.http import reports
from order_capture.entrypoints.http.api import Request
from order_capture.entrypoints.http.problems import RequestInvalidError
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, SERVICE, body_of, declined, details_of, fact_of, held, placed
from tests.support.fakes import RecordedBackoff
from tests.support.tables import create_tables

DAY = RowKey("2026-11-20")
PEN, INK = RowKey("2026-11-20", "pen"), RowKey("2026-11-20", "ink")
PLACED, SHIPPED = OrderEventType.PLACED, OrderEventType.SHIPPED


def later(seconds: int) -> str:
    return f"2026-11-20T10:00:{seconds:02}.000Z"


def received(*facts: OrderEventSummary) -> list[ReceivedOrderEvent]:
    return [
        ReceivedOrderEvent(
            fact.event_id,
            fact.type,
            fact.change.sequence,
            fact.change.time,
            fact.create_time,
            fact.details,
            "{}",
            "corr-1",
            reason=fact.change.reason,
        )
        for fact in facts
    ]


class Store(DynamoReportRepository):
    """The reports in memory."""

    def __init__(self) -> None:
        self.dynamodb = DynamoDB()
        super().__init__(self.dynamodb, create_tables(self.dynamodb)["ReportTable"])

    def build(self, generation: int) -> None:
        """Begin a new generation."""
        item = {**GENERATIONS, "building": {"N": str(generation)}}
        self.dynamodb.put_item(TableName="ReportTable", Item=item)


def project(
    store: Store,
    *facts: OrderEventSummary,
    now: str = NOW,
    backoff: RecordedBackoff | None = None,
) -> set[str]:
    use_case = ProjectReports(store, 100, lambda: now, Retry(backoff or RecordedBackoff()))
    return use_case.process(received(*facts))


def groups(facts: list[OrderEventSummary]) -> list[list[OrderEventSummary]]:
    return list(ProjectReports(Store(), 100, lambda: NOW, Retry(RecordedBackoff())).groups(facts))


def figures(store: Store, generation: int = 1) -> dict[RowKey, dict[Metric, Decimal]]:
    return {row.key: dict(row.figures) for row in store.rows(generation, DAY.day, None, 100)}


class TestAnOrdersLife:
    def test_is_the_statuses_that_it_came_to_and_when(self) -> None:
        order = placed().record_check(CheckType.BALANCE, held(), now=later(1))
        order = order.record_check(CheckType.STOCK, held("1", "pen"), now=later(2))

        assert order.cancel(now=later(3)).transitions == (
            StatusChange(OrderStatus.PENDING, NOW, 1),
            StatusChange(OrderStatus.CONFIRMED, later(2), 2),
            StatusChange(OrderStatus.CANCELLED, later(3), 3),
        )

    @pytest.mark.parametrize("code", DeclineCode)
    def test_a_refusal_has_the_reason_of_the_check_that_declined_first(self, code: DeclineCode) -> None:
        order = placed().record_check(CheckType.STOCK, declined(code, entity="pen"), now=later(1))
        order = order.record_check(CheckType.BALANCE, declined(), now=later(2))

        (_, refusal) = order.transitions

        assert refusal == StatusChange(OrderStatus.REJECTED, later(1), 2, code)

    def test_ways_to_end_differ_in_the_status_or_its_reason(self) -> None:
        ended = [
            placed().expire(now=later(1)),
            placed().withdraw(now=later(1)),
            placed().cancel(now=later(1)),
        ]
        assert [(order.transitions[-1].status, order.transitions[-1].reason) for order in ended] == [
            (OrderStatus.EXPIRED, None),
            (OrderStatus.CANCELLED, PUBLISH_FAILED),
            (OrderStatus.CANCELLED, None),
        ]

    def test_an_event_is_of_the_time_at_which_the_first_of_two_answers_decided(self) -> None:
        # GIVEN an order with two check results, the first of which declines
        order = placed().record_check(CheckType.STOCK, declined(entity="pen"), now="2026-11-20T23:59:59.999Z")
        order = order.record_check(CheckType.BALANCE, held(), now="2026-11-21T00:00:00.001Z")

        assert OrderEvent(order).change.time == "2026-11-20T23:59:59.999Z"


class TestReadingAnEvent:
    def event(self, order: Order) -> str:
        return body_of(OrderEventMessage(OrderEvent(order)))

    def test_what_is_published_is_the_change_of_the_order(self) -> None:
        order = placed().record_check(CheckType.BALANCE, declined(), now=later(1))

        message = envelopes.decode_checked(self.event(order))

        assert message.summary == fact_of(
            OrderEventType.REJECTED, order.details, later(1), 2, "INSUFFICIENT_BALANCE"
        )

    @pytest.mark.parametrize(
        ("was", "became"),
        [
            ('"sequence":"1"', '"sequence":"2"'),
            ('"time":"2026-11-20T10', '"time":"2026-11-21T10'),
            ('"type":"order.placed"', '"type":"order.shipped"'),
            ('"status":"PENDING"', '"status":"SHIPPED"'),
            ('"updateTime":"2026-11-20T10', '"updateTime":"2026-11-20T09'),
            ('"totalAmount":10.00', '"totalAmount":-1'),
            ("urn:order-capture:order.placed:1", "urn:order-capture:order.placed:2"),
        ],
    )
    def test_an_event_that_contradicts_itself_is_refused(self, was: str, became: str) -> None:
        body = self.event(placed())
        assert was in body
        with pytest.raises(InvalidMessageError):
            envelopes.decode_checked(body.replace(was, became))

    def test_an_event_without_a_reason_has_that_of_the_check_that_declined(self) -> None:
        """As releases wrote it that knew no `reason`."""
        order = placed().record_check(CheckType.STOCK, declined(DeclineCode.UNKNOWN_PRODUCT), now=later(1))
        order = order.record_check(CheckType.BALANCE, held(), now=later(1))
        body = self.event(order)
        assert body.count('"reason":"UNKNOWN_PRODUCT",') == 1

        assert envelopes.decode_checked(body.replace('"reason":"UNKNOWN_PRODUCT",', "")).summary == (
            envelopes.decode_checked(body).summary
        )

    def test_only_a_rejection_counts_by_its_reason(self) -> None:
        withdrawn = envelopes.decode_checked(self.event(placed().withdraw(now=later(1)))).summary

        assert (withdrawn.change.reason, withdrawn.decline_code) == (PUBLISH_FAILED, None)


class TestWhatAnEventAdds:
    def test_a_placed_order_counts_for_its_day_and_for_each_product(self) -> None:
        order = details_of(items=(("pen", 2), ("ink", 1), ("pen", 3)), total="19.99")

        assert aggregate_events([fact_of(PLACED, order)]) == {
            DAY: {Metric("orders", PLACED): 1, Metric("amount", PLACED): Decimal("19.99")},
            PEN: {Metric("orders", PLACED): 1, Metric("units", PLACED): 5},
            INK: {Metric("orders", PLACED): 1, Metric("units", PLACED): 1},
        }

    def test_a_refused_order_counts_under_its_reason_and_has_no_amount(self) -> None:
        kind = OrderEventType.REJECTED

        assert aggregate_events([fact_of(kind, reason="INSUFFICIENT_STOCK")]) == {
            DAY: {Metric("orders", kind, "INSUFFICIENT_STOCK"): 1},
            PEN: {
                Metric("orders", kind, "INSUFFICIENT_STOCK"): 1,
                Metric("units", kind, "INSUFFICIENT_STOCK"): 1,
            },
        }

    def test_each_event_counts_for_its_own_day(self) -> None:
        rows = aggregate_events(
            [fact_of(time="2026-11-20T23:59:59.999Z"), fact_of(SHIPPED, time="2026-11-21T00:00:00.000Z")]
        )

        assert rows[DAY] == {Metric("orders", PLACED): 1, Metric("amount", PLACED): 10}
        assert rows[RowKey("2026-11-21")] == {Metric("orders", SHIPPED): 1, Metric("amount", SHIPPED): 10}

    def test_cents_add_up_exactly(self) -> None:
        facts = [fact_of(details=details_of(f"order-{n}", total="0.10")) for n in range(3)]

        assert aggregate_events(facts)[DAY][Metric("amount", PLACED)] == Decimal("0.30")


class TestCounting:
    def test_ten_events_of_one_product_are_one_write(self) -> None:
        store = Store()

        assert project(store, *[fact_of(details=details_of(f"order-{n}")) for n in range(10)]) == set()

        assert store.dynamodb.writes == 1
        assert figures(store)[PEN] == {Metric("orders", PLACED): 10, Metric("units", PLACED): 10}

    def test_what_comes_again_alone_or_among_others_counts_once(self) -> None:
        store = Store()
        first, second = fact_of(), fact_of(details=details_of("order-2"))

        for batch in ([first], [first, first], [second, first], [second]):
            assert project(store, *batch) == set()

        assert figures(store)[DAY][Metric("orders", PLACED)] == 2

    def test_the_order_in_which_they_come_makes_no_difference(self) -> None:
        facts = [fact_of(), fact_of(OrderEventType.CONFIRMED, sequence=2), fact_of(SHIPPED, sequence=3)]
        one, other = Store(), Store()

        project(one, *facts)
        for fact in reversed(facts):
            project(other, fact)

        assert figures(one) == figures(other)

    def test_a_write_that_meets_another_is_made_again_after_a_pause(self) -> None:
        store, backoff = Store(), RecordedBackoff()
        store.dynamodb.conflict(2)

        assert project(store, fact_of(), backoff=backoff) == set()

        assert figures(store)[DAY][Metric("orders", PLACED)] == 1
        assert backoff.after == [1, 2]

    def test_what_is_left_of_a_group_is_counted_without_a_pause(self) -> None:
        store, backoff = Store(), RecordedBackoff()
        project(store, fact_of())

        project(store, fact_of(), fact_of(details=details_of("order-2")), backoff=backoff)

        assert store.dynamodb.writes == 2
        assert backoff.after == []

    def test_one_that_always_meets_others_goes_back_to_the_queue(self) -> None:
        store = Store()
        store.dynamodb.conflict(100)

        assert project(store, fact_of()) == {"order-1"}

    def test_an_event_that_somebody_counts_meanwhile_is_left_to_them(self) -> None:
        store = Store()
        first, second = fact_of(), fact_of(details=details_of("order-2"))
        store.dynamodb.interrupt(lambda: project(store, first))

        assert project(store, first, second) == set()

        assert figures(store)[DAY][Metric("orders", PLACED)] == 2

    def test_a_write_is_never_larger_than_dynamodb_takes(self) -> None:
        large = [
            fact_of(details=details_of(f"order-{n}", items=tuple((f"{n}-{i}", 1) for i in range(50))))
            for n in range(3)
        ]
        together = [fact_of(details=details_of(f"small-{n}")) for n in range(200)]
        apart = [
            fact_of(details=details_of(f"small-{n}"), placed=f"2026-11-20T10:{n // 60:02}:{n % 60:02}.000Z")
            for n in range(200)
        ]

        assert [len(group) for group in groups(large)] == [1, 1, 1]
        # the marks of one second, the day and the pen
        assert [len(group) for group in groups(together)] == [200]
        # the marks of 98 seconds, the day and the pen
        assert [len(group) for group in groups(apart)] == [98, 98, 4]
        assert groups([]) == []

    def test_events_count_in_the_reports_that_are_being_built_as_well(self) -> None:
        store = Store()
        store.build(2)
        store.count(2, [fact_of()], NOW)  # the rebuild was quicker

        assert project(store, fact_of(), fact_of(SHIPPED, sequence=3)) == set()

        assert figures(store, 1) == figures(store, 2)

    def test_one_whose_copy_may_be_forgotten_is_not_counted(self) -> None:
        store = Store()
        old, recent = fact_of(details=details_of("old")), fact_of(details=details_of("new"), time=later(1))

        assert project(store, old, recent, now="2027-01-04T10:00:00.500Z") == {"old"}

        assert figures(store)[DAY][Metric("orders", PLACED)] == 1


def request(**query: str) -> Request:
    return Request(b"", {}, {name: [value] for name, value in query.items()}, {}, "request-1", SERVICE)


def days(since: str, until: str, **more: str) -> Request:
    return request(**{"from": since, "to": until, **more})


class TestAsking:
    def store(self) -> Store:
        store = Store()
        for day in ("2026-11-19", "2026-11-20"):
            items = tuple((name, 2) for name in ("a", "b", "c"))
            project(store, fact_of(details=details_of(day, items=items), time=f"{day}T10:00:00.000Z"))
        return store

    def test_a_page_leads_to_the_next_until_there_is_none(self) -> None:
        store, whole = self.store(), reports.report_query(days("2026-11-01", "2026-11-30"))
        expected = [row.key for row in GetReports(store).get_page(whole).rows]
        assert len(expected) == 8

        for limit in range(1, 9):
            requested, seen = days("2026-11-01", "2026-11-30", limit=str(limit)), []
            for _ in range(len(expected)):
                page = GetReports(store).get_page(reports.report_query(requested))
                assert len(page.rows) <= limit
                seen += [row.key for row in page.rows]
                if "Link" not in reports.page_headers(requested, page):
                    break
                link = reports.page_headers(requested, page)["Link"]
                cursor = link.partition("cursor=")[2].partition(">")[0]
                requested = days("2026-11-01", "2026-11-30", limit=str(limit), cursor=cursor)
            assert seen == expected

    def test_behind_a_last_page_that_is_full_there_is_no_other(self) -> None:
        whole = reports.report_query(days("2026-11-19", "2026-11-20", limit="8"))

        page = GetReports(self.store()).get_page(whole)

        assert (len(page.rows), page.next) == (8, None)

    def test_a_day_is_shown_under_the_contracts_names(self) -> None:
        page = GetReports(self.store()).get_page(
            reports.report_query(days("2026-11-20", "2026-11-20", limit="1"))
        )

        nothing = {"confirmed": 0, "shipped": 0, "cancelled": 0, "expired": 0, "refused": {}}
        assert reports.reports_view(page) == {
            "days": [
                {
                    "day": "2026-11-20",
                    "orders": {"placed": 1, **nothing},
                    "amounts": {"placed": Decimal("10.00"), "shipped": Decimal("0.00")},
                }
            ],
            "products": [],
        }

    def test_the_calendar_has_a_last_day(self) -> None:
        query = reports.report_query(days("9999-12-30", "9999-12-31"))
        assert GetReports(self.store()).get_page(query).rows == []

    def test_days_from_a_later_to_an_earlier_one_are_none(self) -> None:
        query = reports.report_query(days("2026-11-21", "2026-11-01"))
        assert GetReports(self.store()).get_page(query).rows == []

    def test_ninety_two_days_may_be_asked_for(self) -> None:
        reports.report_query(days("2026-07-01", "2026-09-30"))
        with pytest.raises(RequestInvalidError, match="to must be less than 92 days after from"):
            reports.report_query(days("2026-07-01", "2026-10-01"))

    @pytest.mark.parametrize(
        "day", ["", "today", "2026-11-31", "20261120", "2026-W47-5", "2026-11-20T00:00:00Z", "２０２６-11-20"]
    )
    def test_what_is_no_date_is_named(self, day: str) -> None:
        with pytest.raises(RequestInvalidError, match=r"^from must be a date, like 2026-11-20$"):
            reports.report_query(days(day, "2026-11-20"))

    @pytest.mark.parametrize(
        ("cursor", "day"), [("", "2026-11-20"), ("AAAA", "2026-11-20"), ("é", "2026-11-20")]
    )
    def test_a_cursor_of_nobodys_is_refused(self, cursor: str, day: str) -> None:
        with pytest.raises(RequestInvalidError, match="cursor must be a cursor from an earlier response"):
            reports.report_query(days(day, day, cursor=cursor))

    def test_a_cursor_of_other_days_is_refused(self) -> None:
        page = GetReports(self.store()).get_page(
            reports.report_query(days("2026-11-19", "2026-11-20", limit="1"))
        )
        requested = days("2026-11-19", "2026-11-20")
        cursor = reports.page_headers(requested, page)["Link"].partition("cursor=")[2].partition(">")[0]
        with pytest.raises(RequestInvalidError, match="cursor must be a cursor from an earlier response"):
            reports.report_query(days("2026-11-20", "2026-11-20", cursor=cursor))

    @pytest.mark.parametrize("missing", ["from", "to"])
    def test_both_days_are_asked_for(self, missing: str) -> None:
        query = {"from": "2026-11-20", "to": "2026-11-20"}
        del query[missing]
        with pytest.raises(RequestInvalidError, match=f"{missing} is required"):
            reports.report_query(request(**query))
