"""The daily reports: the numbers that each event adds to the rows.

Every event only adds, so their order does not matter. The repository makes sure that each is added once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from order_capture.domain.events import OrderEventSummary, OrderEventType
from order_capture.domain.ledger import STOCK
from order_capture.domain.times import second_of

ONE = Decimal(1)
AMOUNTS_OF = (OrderEventType.PLACED, OrderEventType.SHIPPED)


class Metric(NamedTuple):
    """A number in a row: `orders`, `units` or `amount`, by event type and reason."""

    measure: str
    what: OrderEventType
    reason: str | None = None


class RowKey(NamedTuple):
    """A row of the reports: a day, in UTC, or one product on it."""

    day: str
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row, with its non-zero figures."""

    key: RowKey
    figures: Mapping[Metric, Decimal]


def placed_second(fact: OrderEventSummary) -> str:
    """The second in which the event's order was placed. Orders of one second share their counted marks."""
    return second_of(fact.create_time)


Rows = dict[RowKey, dict[Metric, Decimal]]


def aggregate_events(facts: Iterable[OrderEventSummary]) -> Rows:
    """The sums that these events, each given once, add to each row.

    Each event counts on the day on which it happened: an order placed before midnight and shipped after it is
    in both days. An order's total is not split among its products, so only the day's row has amounts. A
    rejected order counts for all of its products, whichever of them was the reason.
    """
    rows: Rows = defaultdict(lambda: defaultdict(Decimal))
    for fact in facts:
        day = fact.change.time[:10]
        of_day = rows[RowKey(day)]
        of_day[Metric("orders", fact.type, fact.decline_code)] += ONE
        if fact.type in AMOUNTS_OF:
            of_day[Metric("amount", fact.type)] += fact.details.total_amount
        for product_id, units in STOCK.required_amounts(fact.details).items():
            of_product = rows[RowKey(day, product_id)]
            of_product[Metric("orders", fact.type, fact.decline_code)] += ONE
            of_product[Metric("units", fact.type, fact.decline_code)] += units
    return rows
