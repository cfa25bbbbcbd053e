"""Requests for earlier balances and histories, and their responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PlainValidator

from order_capture.adapters.serializers.check_results import check_result_values
from order_capture.adapters.serializers.snapshots import amounts
from order_capture.application.ledger.list_balance_history import Entry, HistoryPage
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.application.ports import OrderCursor
from order_capture.domain.history import ChangeType
from order_capture.domain.ledger import ZERO, Hold, LedgerSpec
from order_capture.domain.order import CheckResult
from order_capture.domain.stripes import is_stripe
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError
from order_capture.entrypoints.http.requests import (
    MAX_PAGE,
    Query,
    Time,
    WholeNumber,
    cursor_reader,
    query_of,
)

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request


def _cursor(value: str) -> HistoryCursor:
    place = pagination.decode(value)
    key, _, index = place.order_id.rpartition("/")
    return HistoryCursor(place.create_time, key, int(index))


class BalanceQuery(Query):
    """The query of `GET /account/{customerId}` and `GET /stock/{productId}`."""

    at: Time | None = None


class HistoryQuery(Query):
    """The query of a history."""

    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[HistoryCursor, PlainValidator(cursor_reader(_cursor))] | None = None


def requested_time(request: Request, now: str) -> str | None:
    """The time of the requested balance; None for now.

    Raises:
        RequestInvalidError: it is not a time, or in the future; or there is another parameter.
    """
    at = query_of(BalanceQuery, request).at
    if at is not None and at > now:
        raise RequestInvalidError([FieldError("at", f"must not be in the future: it is {now}")])
    return at


def requested_page(request: Request) -> tuple[HistoryCursor | None, int]:
    """Where the requested page begins, and its maximum number of entries.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    query = query_of(HistoryQuery, request)
    return query.cursor, query.limit


def history_view(kind: LedgerSpec, name: str, entity: str, page: HistoryPage) -> dict[str, Any]:
    """The history of a customer's account or a product's stock; `name` is the name of the id's field."""
    return {name: entity, "entries": [_entry_view(kind, entry) for entry in page.entries]}


def history_headers(request: Request, page: HistoryPage) -> dict[str, str]:
    """The Link header of the next page, if there can be one."""
    if page.next is None:
        return {}
    place = OrderCursor(page.next.time, f"{page.next.key}/{page.next.index}")
    return pagination.next_page(request, "history", pagination.encode(place))


def _entry_view(kind: LedgerSpec, entry: Entry) -> dict[str, Any]:
    line, change = entry.record, entry.change
    view: dict[str, Any] = {"time": line.time}
    if isinstance(line, Hold):
        view |= {"type": ChangeType.HOLD, "orderId": line.order_id, "amount": kind.amount(ZERO)}
        return view | {"declined": _decline_view(kind, line.decision)}
    if change is not None:
        view |= {"type": change.type, "amount": kind.amount(change.amount)}
        if change.id and change.type is not ChangeType.ADJUST:
            view["orderId"] = change.id
    if is_stripe(line.entity) or line.after.stripes:
        return view  # the figures afterwards are those of one head only
    after = amounts(kind, line.after)
    return view | {"after": after | {"deleted": True} if line.after.deleted else after}


def _decline_view(kind: LedgerSpec, decision: CheckResult) -> dict[str, Any]:
    available = None if decision.available is None else kind.amount(decision.available)
    values = check_result_values(decision) | {
        "asked": kind.amount(decision.requested),
        "available": available,
    }
    return {name: value for name, value in values.items() if name != "outcome"}
