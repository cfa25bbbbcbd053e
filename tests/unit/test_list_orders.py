"""A customer's orders are listed page by page, each of them once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.application.callers import Caller
from order_capture.application.orders.list_orders import MAX_READ, ListOrders, OrderQuery
from order_capture.application.ports import OrderCursor
from order_capture.application.retry import Retry
from order_capture.domain.errors import CustomerForbiddenError
from order_capture.domain.order import CheckType, Order, OrderStatus
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import SERVICE, declined, details_of
from tests.support.fakes import RecordedBackoff
from tests.support.tables import create_tables


class Shelf(DynamoOrderRepository):
    """Orders of alice, one a second; those with the `rejected` numbers are rejected."""

    def __init__(self, number: int, rejected: range = range(0)) -> None:
        dynamodb = DynamoDB()
        super().__init__(dynamodb, create_tables(dynamodb)["OrderTable"], Retry(RecordedBackoff()))
        for each in range(number):
            now = f"2026-11-20T10:{each // 60:02}:{each % 60:02}.000Z"
            order = Order.place(
                details_of(f"order-{each}"), now=now, correlation_id="corr-1", fingerprint="print-1"
            )
            self.add([order])
            if each in rejected:
                self.save(order.record_check(CheckType.BALANCE, declined(), now=now), expected_version=1)

    def pages(self, limit: int, status: OrderStatus | None = None) -> list[list[int]]:
        """The numbers of the orders on every page, to the last one."""
        pages, after, more = [], None, True
        while more:
            query = OrderQuery("alice", "2026", "2027", status, limit, after)
            page = ListOrders(self).list_page(query, SERVICE)
            pages.append([int(order.order_id.removeprefix("order-")) for order in page.orders])
            after, more = page.next, page.next is not None
        return pages


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


def test_a_request_reads_only_so_many_and_the_next_one_goes_on() -> None:
    shelf = Shelf(MAX_READ + 50, rejected=range(1))

    query = OrderQuery("alice", "2026", "2027", OrderStatus.REJECTED, 20, None)
    first = ListOrders(shelf).list_page(query, SERVICE)

    assert first.orders == []
    assert first.next == OrderCursor("2026-11-20T10:00:50.000Z", "order-50")
    assert shelf.pages(20, OrderStatus.REJECTED) == [[], [0]]


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

    assert len(ListOrders(shelf).list_page(query, Caller("sub-1", "alice")).orders) == 1
    for customer in ("alice", "carol"):
        with pytest.raises(CustomerForbiddenError):
            ListOrders(shelf).list_page(replace(query, customer_id=customer), Caller("sub-2", "bob"))
