"""List a customer's orders, newest first, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.ports import OrderCursor, OrderRepository
from order_capture.domain.errors import CustomerForbiddenError
from order_capture.domain.order import Order, OrderStatus

# The index does not have an order's status, so those of another status are read and skipped. What one request
# reads is bounded: past this many, the page is returned as it is, and the next one goes on from there.
MAX_READ = 500


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders: placed from `since` to `until`, both included; `after` is where the last page ended."""

    customer_id: str
    since: str
    until: str
    status: OrderStatus | None
    limit: int
    after: OrderCursor | None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some orders, and where the next page begins; None if there can be no more."""

    orders: Sequence[Order]
    next: OrderCursor | None


@dataclass(frozen=True, slots=True)
class ListOrders:
    """Read a customer's orders."""

    orders: OrderRepository

    def list_page(self, query: OrderQuery, caller: Caller) -> OrderPage:
        """Return the next page. It can be short, even empty, and have another one behind it.

        Raises:
            CustomerForbiddenError: they are of a customer that is not the caller.
        """
        if not caller.can_access(query.customer_id):
            raise CustomerForbiddenError
        found: list[Order] = []
        after, read = query.after, 0
        while read < MAX_READ:
            # One more than a page takes shows whether there is another page.
            cursors = self.orders.list_keys(
                query.customer_id, query.since, query.until, after, query.limit + 1
            )
            page, more = cursors[: query.limit], len(cursors) > query.limit
            by_id = self.orders.get_many([cursor.order_id for cursor in page])
            for cursor in page:
                after = cursor
                order = by_id.get(cursor.order_id)
                if order is not None and query.status in (None, order.status):
                    found.append(order)
                if len(found) == query.limit:
                    return OrderPage(found, after if more or cursor is not page[-1] else None)
            if not more:
                return OrderPage(found, None)
            read += len(page)
        return OrderPage(found, after)
