"""List a customer's orders, newest first, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.ports import Orders, Place
from order_capture.domain.errors import ForeignCustomerError
from order_capture.domain.order import Order, OrderStatus

# Which status an order has is not in the index, so those of another status are read and passed by. What one
# request reads is bounded: past this many, the page is given as it is, and the next one goes on from there.
MOST_READ = 500


@dataclass(frozen=True, slots=True)
class Query:
    """Which orders: placed from `since` to `until`, both included; `after` is where the last page ended."""

    customer_id: str
    since: str
    until: str
    status: OrderStatus | None
    limit: int
    after: Place | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some orders, and where the next page begins; None if there can be no more."""

    orders: Sequence[Order]
    next: Place | None


def list_orders(orders: Orders, query: Query, caller: Caller) -> Page:
    """The next page of a customer's orders. It can be short, even empty, and have another one behind it.

    Raises:
        ForeignCustomerError: they are of a customer that is not the caller.
    """
    if not caller.reaches(query.customer_id):
        raise ForeignCustomerError
    found: list[Order] = []
    after, read = query.after, 0
    while read < MOST_READ:
        # One more than a page takes tells whether there is another page.
        places = orders.places(query.customer_id, query.since, query.until, after, query.limit + 1)
        page, more = places[: query.limit], len(places) > query.limit
        by_id = orders.get_many([place.order_id for place in page])
        for place in page:
            after = place
            order = by_id.get(place.order_id)
            if order is not None and query.status in (None, order.status):
                found.append(order)
            if len(found) == query.limit:
                return Page(found, after if more or place is not page[-1] else None)
        if not more:
            return Page(found, None)
        read += len(page)
    return Page(found, after)
