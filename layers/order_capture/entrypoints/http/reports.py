"""Requests for the daily reports and their responses, with the contract's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from order_capture.application.reports.get_reports import ReportPage, ReportQuery
from order_capture.domain.events import OrderEventType
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.reports import AMOUNTS_OF, Metric, Row, RowKey
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError
from order_capture.entrypoints.http.requests import NOT_A_CURSOR, Query, WholeNumber, cursor_reader, query_of

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

MAX_DAYS = 92  # a quarter; each day is a separate call of some milliseconds
MAX_ROWS = 1000  # on a page: a response of 400 KB, of the 6 MB that a function may return

_CURSOR = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([!-~]{0,64})")
_COUNTED = [kind for kind in OrderEventType if kind is not OrderEventType.REJECTED]


def _date(value: str) -> date:
    try:
        # Python also reads other date formats, which are not in the contract.
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            raise ValueError(value)
        return date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("date", "not a date") from error


def _row_key(value: str) -> RowKey:
    match = _CURSOR.fullmatch(pagination.unpack(value))
    if not match:
        raise ValueError(value)
    return RowKey(date.fromisoformat(match[1]).isoformat(), match[2] or None)


Day = Annotated[date, BeforeValidator(_date)]


class DailyQuery(Query):
    """The query of `GET /reports/daily`."""

    since: Annotated[Day, Field(alias="from")]
    until: Annotated[Day, Field(alias="to")]
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_ROWS)] = 500
    cursor: Annotated[RowKey, PlainValidator(cursor_reader(_row_key))] | None = None


def report_query(request: Request) -> ReportQuery:
    """The days requested by `GET /reports/daily`.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    query = query_of(DailyQuery, request)
    if (query.until - query.since).days >= MAX_DAYS:
        raise RequestInvalidError([FieldError("to", f"must be less than {MAX_DAYS} days after from")])
    if query.cursor and not query.since.isoformat() <= query.cursor.day <= query.until.isoformat():
        raise RequestInvalidError([FieldError("cursor", NOT_A_CURSOR)])
    return ReportQuery(query.since, query.until, query.limit, query.cursor)


def reports_view(page: ReportPage) -> dict[str, Any]:
    """A page of days, and of products on them."""
    return {
        "days": [_day_view(row) for row in page.rows if row.key.product_id is None],
        "products": [_product_view(row) for row in page.rows if row.key.product_id is not None],
    }


def page_headers(request: Request, page: ReportPage) -> dict[str, str]:
    """The Link header of the next page, if there is one."""
    if page.next is None:
        return {}
    place = f"{page.next.day} {page.next.product_id or ''}"
    return pagination.next_page(request, "daily", pagination.pack(place))


def _day_view(row: Row) -> dict[str, Any]:
    amounts = {
        _name(kind): ACCOUNTS.amount(row.figures.get(Metric("amount", kind), Decimal(0)))
        for kind in AMOUNTS_OF
    }
    return {"day": row.key.day, "orders": _counts(row.figures, "orders"), "amounts": amounts}


def _product_view(row: Row) -> dict[str, Any]:
    return {
        "day": row.key.day,
        "productId": row.key.product_id,
        "orders": _counts(row.figures, "orders"),
        "units": _counts(row.figures, "units"),
    }


def _counts(figures: Mapping[Metric, Decimal], measure: str) -> dict[str, Any]:
    refused = {
        figure.reason: int(number)
        for figure, number in sorted(figures.items())
        if figure.measure == measure and figure.reason is not None
    }
    counted = {_name(kind): int(figures.get(Metric(measure, kind), 0)) for kind in _COUNTED}
    return {**counted, "refused": refused}


def _name(kind: OrderEventType) -> str:
    return kind.removeprefix("order.")
