"""List the orders of one or all customers, newest first, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from order_capture.application.callers import Caller
from order_capture.application.ports import Clock, OrderCursor, OrderRepository
from order_capture.domain.errors import CustomerForbiddenError
from order_capture.domain.order import Order, OrderStatus
from order_capture.domain.times import format_utc, second_of

if TYPE_CHECKING:
    from order_capture.application.reports.ports import ReportRepository

# The indexes have neither an order's status nor its reason, so others are read and skipped. The reads of one
# request are bounded: after this many, the page is returned as it is, and the next one continues from there.
MAX_READ = 500
CHUNK = 100
"""Orders read at a time after a page turned out to be short."""


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The requested orders: placed from `since` to `until`, both included; `after` is the end of the last
    page.

    `customer_id` is None for the orders of all customers. `reason` is the code of a refusal.
    """

    customer_id: str | None
    since: str
    until: str
    status: OrderStatus | None
    limit: int
    after: OrderCursor | None
    reason: str | None = None

    def selects(self, order: Order) -> bool:
        """Whether the query selects the order. The customer is not compared."""
        last = order.transitions[-1]
        return (
            self.since <= order.create_time <= self.until
            and self.status in (None, order.status)
            and (self.reason is None or (order.status is OrderStatus.REJECTED and self.reason == last.reason))
        )


@dataclass(frozen=True, slots=True)
class OrderPage:
    """A page of orders, and where the next page begins; None if there can be no more."""

    orders: Sequence[Order]
    next: OrderCursor | None


@dataclass(frozen=True, slots=True)
class ListOrders:
    """Read orders. Those of all customers come from the reports' marks, for as long as these are kept."""

    orders: OrderRepository
    reports: ReportRepository
    clock: Clock
    retention: timedelta

    def list_page(self, query: OrderQuery, caller: Caller) -> OrderPage:
        """Return the next page. It can be short, even empty, and still have a next one.

        Raises:
            CustomerForbiddenError: the caller is a customer, and requests those of another one or of all.
        """
        if not caller.can_access(query.customer_id):
            raise CustomerForbiddenError
        found: list[Order] = []
        after, read, chunk = query.after, 0, query.limit
        while read < MAX_READ:
            # One more than requested, to see whether there is another page.
            cursors = self._list_keys(query, after, chunk + 1)
            page, more = cursors[:chunk], len(cursors) > chunk
            by_id = self.orders.get_many([cursor.order_id for cursor in page])
            for cursor in page:
                after = cursor
                order = by_id.get(cursor.order_id)
                if order is not None and query.selects(order):
                    found.append(order)
                if len(found) == query.limit:
                    return OrderPage(found, after if more or cursor is not page[-1] else None)
            if not more:
                return OrderPage(found, None)
            read, chunk = read + len(page), CHUNK
        return OrderPage(found, after)

    def _list_keys(self, query: OrderQuery, after: OrderCursor | None, limit: int) -> Sequence[OrderCursor]:
        if query.customer_id is not None:
            return self.orders.list_keys(query.customer_id, query.since, query.until, after, limit)
        remembered = format_utc(datetime.fromisoformat(self.clock()) - self.retention)
        since = max(query.since, remembered)
        return self.reports.list_placed(second_of(since), second_of(query.until), after, limit)
