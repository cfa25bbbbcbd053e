"""Orders are listed page by page, each once: those of a customer, or of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.report_repository import GENERATIONS, DynamoReportRepository
from order_capture.application.callers import Caller
from order_capture.application.orders.list_orders import CHUNK, MAX_READ, ListOrders, OrderPage, OrderQuery
from order_capture.application.ports import OrderCursor
from order_capture.application.retry import Retry
from order_capture.domain.errors import CustomerForbiddenError
from order_capture.domain.events import OrderEventType
from order_capture.domain.order import CheckType, DeclineCode, Order, OrderStatus
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, SERVICE, declined, details_of, fact_of
from tests.support.fakes import RecordedBackoff
from tests.support.tables import create_tables

FOREVER = ("0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")
FORGET = "2027-01-19T10:00:00+00:00"


def time_of(number: int) -> str:
    return f"2026-11-20T10:{number // 60:02}:{number % 60:02}.000Z"


class Shelf(DynamoOrderRepository):
    """Orders of alice, one a second; those with the `rejected` numbers are rejected."""

    def __init__(self, number: int = 0, rejected: range = range(0)) -> None:
        self.dynamodb = DynamoDB()
        tables = create_tables(self.dynamodb)
        super().__init__(self.dynamodb, tables["OrderTable"], Retry(RecordedBackoff()))
        self.reports = DynamoReportRepository(self.dynamodb, tables["ReportTable"])
        self.now = NOW
        for each in range(number):
            self.place(f"order-{each}", time_of(each))
            if each in rejected:
                self.reject(f"order-{each}")

    def place(self, order_id: str, now: str, customer_id: str = "alice") -> None:
        details = details_of(order_id, customer_id)
        self.add([Order.place(details, now=now, correlation_id="corr-1", fingerprint="print-1")])

    def reject(self, order_id: str, code: DeclineCode = DeclineCode.INSUFFICIENT_BALANCE) -> None:
        order = self.get(order_id)
        assert order is not None
        rejected = order.record_check(CheckType.BALANCE, declined(code), now=order.create_time)
        self.save(rejected, expected_version=1)

    def count(self, *order_ids: str, generation: int = 1, sequence: int = 1) -> None:
        """Let the reports count an event of each order: a row of marks for each second."""
        kind = OrderEventType.PLACED if sequence == 1 else OrderEventType.CONFIRMED
        facts = [
            fact_of(kind, order.details, sequence=sequence, placed=order.create_time)
            for order in filter(None, map(self.get, order_ids))
        ]
        self.reports.count(generation, facts, FORGET)

    def page(self, query: OrderQuery, caller: Caller = SERVICE) -> OrderPage:
        return ListOrders(self, self.reports, lambda: self.now, timedelta(days=60)).list_page(query, caller)

    def pages(
        self, limit: int, status: OrderStatus | None = None, reason: str | None = None
    ) -> list[list[int]]:
        """The numbers of alice's orders on every page, to the last one."""
        pages, after, more = [], None, True
        while more:
            page = self.page(OrderQuery("alice", "2026", "2027", status, limit, after, reason))
            pages.append([int(order.order_id.removeprefix("order-")) for order in page.orders])
            after, more = page.next, page.next is not None
        return pages

    def pages_of_all(
        self, *limits: int, since: str = FOREVER[0], until: str = FOREVER[1], reason: str | None = None
    ) -> list[list[str]]:
        """The ids of all customers' orders on every page, to the last one, with any page sizes."""
        pages, after = [], None
        for limit in cycle(limits):
            page = self.page(OrderQuery(None, since, until, None, limit, after, reason))
            assert len(page.orders) <= limit
            pages.append([order.order_id for order in page.orders])
            if (after := page.next) is None:
                return pages
        raise AssertionError("it never ends")


def test_the_newest_come_first_and_every_page_but_the_last_is_full() -> None:
    assert Shelf(5).pages(2) == [[4, 3], [2, 1], [0]]


@pytest.mark.parametrize(("number", "pages"), [(0, [[]]), (1, [[0]]), (4, [[3, 2], [1, 0]])])
def test_behind_the_last_order_there_is_no_page(number: int, pages: list[list[int]]) -> None:
    assert Shelf(number).pages(2) == pages


def test_a_page_of_the_largest_size_is_one_that_can_be_read_at_once() -> None:
    assert [len(page) for page in Shelf(201).pages(100)] == [100, 100, 1]


def test_those_of_another_status_are_passed_by() -> None:
    shelf = Shelf(10, rejected=range(2, 5))

    assert shelf.pages(2, OrderStatus.REJECTED) == [[4, 3], [2]]
    assert shelf.pages(3, OrderStatus.PENDING) == [[9, 8, 7], [6, 5, 1], [0]]
    assert shelf.pages(3, OrderStatus.SHIPPED) == [[]]


def test_those_of_another_reason_are_passed_by() -> None:
    shelf = Shelf(6, rejected=range(1, 3))
    shelf.reject("order-4", DeclineCode.UNKNOWN_CUSTOMER)

    assert shelf.pages(9, reason=DeclineCode.INSUFFICIENT_BALANCE) == [[2, 1]]
    assert shelf.pages(9, reason=DeclineCode.UNKNOWN_CUSTOMER) == [[4]]
    assert shelf.pages(9, OrderStatus.PENDING, DeclineCode.UNKNOWN_CUSTOMER) == [[]]


def test_an_order_that_was_withdrawn_was_not_refused() -> None:
    shelf = Shelf(1)
    order = shelf.get("order-0")
    assert order is not None
    shelf.save(order.withdraw(now=NOW), expected_version=1)

    assert shelf.pages(9, reason="PUBLISH_FAILED") == [[]]


def test_a_request_reads_only_so_many_and_the_next_one_goes_on() -> None:
    shelf = Shelf(MAX_READ + 50, rejected=range(1))

    first = shelf.page(OrderQuery("alice", "2026", "2027", OrderStatus.REJECTED, 100, None))

    assert first.orders == []
    assert first.next == OrderCursor("2026-11-20T10:00:50.000Z", "order-50")
    assert shelf.pages(100, OrderStatus.REJECTED) == [[], [0]]


def test_a_page_that_turns_out_short_is_filled_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, calls = Shelf(300, rejected=range(1)), list[int]()
    list_keys = shelf.list_keys

    def counted(*arguments: object) -> Sequence[OrderCursor]:
        calls.append(int(str(arguments[-1])))
        return list_keys(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shelf, "list_keys", counted)

    assert shelf.pages(1, OrderStatus.REJECTED) == [[0]]
    assert calls == [2, *[CHUNK + 1] * 3]


def test_an_order_that_is_gone_from_the_table_is_left_out() -> None:
    class Lagging(Shelf):
        def list_keys(self, *args: object, **kwargs: object) -> list[OrderCursor]:
            return [
                OrderCursor("2026-11-20T10:00:09.000Z", "order-9"),
                OrderCursor("2026-11-20T10:00:00.000Z", "order-0"),
            ]

    assert Lagging(1).pages(2) == [[0]]


def test_a_customer_has_their_own_listed_and_nobody_elses_be_there_any_or_not() -> None:
    shelf = Shelf(1)
    query = OrderQuery("alice", "2026", "2027", None, 20, None)

    assert len(shelf.page(query, Caller("sub-1", "alice")).orders) == 1
    for customer in ("alice", "carol", None):
        with pytest.raises(CustomerForbiddenError):
            shelf.page(replace(query, customer_id=customer), Caller("sub-2", "bob"))


class TestThoseOfAll:
    def test_are_the_newest_second_first_and_in_it_by_id(self) -> None:
        shelf = Shelf()
        for order_id, second, customer_id in (("b", 1, "bob"), ("c", 2, "carol"), ("a", 1, "alice")):
            shelf.place(order_id, time_of(second), customer_id)
            shelf.count(order_id)

        assert shelf.pages_of_all(2) == [["c", "a"], ["b"]]

    def test_are_those_that_were_counted(self) -> None:
        shelf = Shelf(3)
        shelf.count("order-0", "order-2")

        assert shelf.pages_of_all(20) == [["order-2", "order-0"]]

    def test_are_there_once_whatever_became_of_them(self) -> None:
        shelf = Shelf(2)
        shelf.count("order-0", "order-1")
        shelf.count("order-0", sequence=2)
        shelf.count("order-0", "order-1")  # again: nothing of it is new

        assert shelf.pages_of_all(20) == [["order-1", "order-0"]]

    def test_are_of_the_time_that_is_asked_for_to_the_millisecond(self) -> None:
        shelf = Shelf()
        for milliseconds in (0, 400, 700):
            shelf.place(f"order-{milliseconds}", f"2026-11-20T10:00:00.{milliseconds:03}Z")
            shelf.count(f"order-{milliseconds}")
        since, until = "2026-11-20T10:00:00.400Z", "2026-11-20T10:00:00.699Z"

        assert shelf.pages_of_all(20, since=since, until=until) == [["order-400"]]
        assert shelf.pages_of_all(20, since=until, until=since) == [[]]

    def test_are_of_the_last_sixty_days_whatever_is_asked_for(self) -> None:
        shelf = Shelf(2)
        shelf.count("order-0", "order-1")
        shelf.now = "2027-01-19T10:00:01.000Z"

        assert shelf.pages_of_all(20) == [["order-1"]]

        shelf.now = "2027-01-19T10:00:02.000Z"
        assert shelf.pages_of_all(20) == [[]]

    def test_of_another_reason_are_passed_by_and_only_so_many_are_read(self) -> None:
        shelf = Shelf(MAX_READ + 50, rejected=range(1))
        for number in range(MAX_READ + 50):
            shelf.count(f"order-{number}")

        pages = shelf.pages_of_all(100, reason=DeclineCode.INSUFFICIENT_BALANCE)

        assert pages == [[], ["order-0"]]

    def test_that_can_not_be_read_hide_no_others(self) -> None:
        shelf = Shelf(2)
        shelf.count("order-0", "order-1")
        broken = {"page": "1#placed#2026-11-20T10:00:02", "row": "000001", "listed": "1#placed"}
        item = {name: {"S": text} for name, text in broken.items()}
        shelf.dynamodb.put_item(TableName="ReportTable", Item={**item, "counted": {"S": "much"}})

        assert shelf.pages_of_all(20) == [["order-1", "order-0"]]

    def test_two_thousand_of_one_second_are_all_found(self) -> None:
        shelf = Shelf()
        order_ids = [f"order-{number:04}" for number in range(2_000)]
        for order_id in order_ids:
            shelf.place(order_id, NOW)
        for start in range(125):  # more rows of marks than are read at a time, in no order of the ids
            shelf.count(*order_ids[start::125])

        pages = shelf.pages_of_all(100)

        assert [each for page in pages for each in page] == order_ids
        assert len(pages) == 20

    @settings(deadline=None, derandomize=True, database=None)
    @given(
        counted=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=8), max_size=8),
        limits=st.lists(st.integers(1, 7), min_size=1, max_size=4),
        rebuilt_after=st.integers(0, 5),
    )
    def test_are_on_one_page_each_and_in_order_whatever_the_rows_and_pages_are(
        self, counted: list[list[tuple[int, int]]], limits: list[int], rebuilt_after: int
    ) -> None:
        # GIVEN rows of marks with any orders of any seconds, the same ones again among them
        shelf, seconds = Shelf(), dict[str, int]()
        for row in counted:
            for second, number in row:
                order_id = f"{number}-{second}"
                seconds[order_id] = second
                shelf.place(order_id, time_of(second))
            if row:
                shelf.count(*[f"{number}-{second}" for second, number in row])
        # WHEN all pages are read, of any sizes, and the reports are rebuilt between two of them
        seen, after = list[str](), None
        for index, limit in enumerate(cycle(limits)):
            if index == rebuilt_after:
                for order_id in seconds:
                    shelf.count(order_id, generation=2)
                shelf.dynamodb.put_item(TableName="ReportTable", Item={**GENERATIONS, "current": {"N": "2"}})
            page = shelf.page(OrderQuery(None, *FOREVER, None, limit, after))
            seen += [order.order_id for order in page.orders]
            if (after := page.next) is None:
                break
        # THEN each order was there once
        assert seen == sorted(seconds, key=lambda order_id: (-seconds[order_id], order_id))
