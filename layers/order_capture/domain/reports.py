"""The daily reports: what each event adds to which row.

Every event only adds, so it does not matter in which order they come; that each adds once is up to who keeps
the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from order_capture.domain.events import OrderEventSummary, OrderEventType
from order_capture.domain.ledger import STOCK

ONE = Decimal(1)
AMOUNTS_OF = (OrderEventType.PLACED, OrderEventType.SHIPPED)


class Metric(NamedTuple):
    """A number in a row: how many `orders` or `units`, or what `amount`, of what happened and why."""

    measure: str
    what: OrderEventType
    reason: str | None = None


class RowKey(NamedTuple):
    """A row of the reports: a day, in UTC, or one product on it."""

    day: str
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row, with those of its figures that are not zero."""

    key: RowKey
    figures: Mapping[Metric, Decimal]


def placed_second(fact: OrderEventSummary) -> str:
    """The second in which the event's order was placed: what is counted of such orders is marked together."""
    return fact.create_time[: len("2026-11-20T10:00:00")]


Rows = dict[RowKey, dict[Metric, Decimal]]


def aggregate_events(facts: Iterable[OrderEventSummary]) -> Rows:
    """What these events, each given once, add to which rows.

    Each counts for the day on which it happened: an order that is placed before midnight and shipped after it
    is in both days. What an order costs is not split among its products, so amounts are the day's alone. A
    refused order counts for all its products, whichever of them it was refused for.
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
