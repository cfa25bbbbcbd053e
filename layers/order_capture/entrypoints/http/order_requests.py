"""Requests about orders."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, Strict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from order_capture.application.idempotency import RequestKey
from order_capture.application.orders.capture_orders import Batch
from order_capture.application.orders.list_orders import OrderQuery
from order_capture.application.ports import OrderCursor
from order_capture.domain.errors import OrderCaptureError
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.order import (
    MAX_ITEMS,
    MAX_QTY,
    DeclineCode,
    Order,
    OrderDetails,
    OrderLine,
    OrderStatus,
)
from order_capture.domain.times import second_of
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError
from order_capture.entrypoints.http.requests import (
    FIRST_TIME,
    LAST_TIME,
    MAX_BODY_BYTES,
    MAX_PAGE,
    NOT_A_CURSOR,
    Body,
    Id,
    Price,
    Query,
    Time,
    Units,
    WholeNumber,
    cursor_reader,
    fingerprint_of,
    not_null,
    query_of,
    read_body,
    request_key,
    validated,
)
from order_capture.entrypoints.http.urls import Url

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

MAX_BATCH_BYTES = 1024 * 1024  # a hundred of them take 800 KiB
MAX_ORDERS = 100  # what one DynamoDB transaction can write
MAX_WAIT = 20  # seconds; the function has 25, API Gateway 29


class NewOrderLine(Body):
    """A number of units of a product, optionally with a price per unit."""

    productId: Id  # noqa: N815 - the contract's name
    qty: Annotated[Units, Field(ge=1, le=MAX_QTY)]
    unitPrice: Annotated[Price | None, BeforeValidator(not_null)] = None  # noqa: N815


class NewOrder(Body):
    """The body of `POST /order`, and each entry of `POST /orders`."""

    customerId: Id  # noqa: N815
    items: Annotated[list[NewOrderLine], Field(min_length=1, max_length=MAX_ITEMS)]
    totalAmount: Price  # noqa: N815
    callbackUrl: Url = ""  # noqa: N815

    @model_validator(mode="after")
    def _prices_add_up(self) -> NewOrder:
        if errors := list(_price_errors(self)):
            raise ValidationError.from_exception_data("NewOrder", errors)
        return self


def _price_errors(order: NewOrder) -> Iterator[InitErrorDetails]:
    """The errors in the unit prices of an order, if any of its items has one."""
    if all(line.unitPrice is None for line in order.items):
        return
    total, first, complete = Decimal(0), dict[str, int](), True
    for index, line in enumerate(order.items):
        place = ("items", index, "unitPrice")
        if line.unitPrice is None:
            complete = False
            yield _init_error("unit_price_missing", place)
            continue
        total += line.qty * line.unitPrice
        same = first.setdefault(line.productId, index)
        price = order.items[same].unitPrice
        if price != line.unitPrice:
            yield _init_error("unit_price_differs", place, price=price, item=f"items[{same}]")
    if complete and total != order.totalAmount:
        figures = {"sum": ACCOUNTS.amount(total), "total": ACCOUNTS.amount(order.totalAmount)}
        yield _init_error("total_amount", ("totalAmount",), **figures)


def _init_error(kind: str, place: tuple[int | str, ...], **context: object) -> InitErrorDetails:
    error = PydanticCustomError(kind, "see _MESSAGES", {name: str(each) for name, each in context.items()})
    return InitErrorDetails(type=error, loc=place, input=None)


class ErrorPolicy(StrEnum):
    """How to handle a batch in which some orders are not valid."""

    ACCEPT_VALID = "ACCEPT_VALID"
    REJECT_ALL = "REJECT_ALL"


class NewOrders(Body):
    """The body of `POST /orders`. Its entries are validated one by one, so that a bad one stops no other."""

    orders: Annotated[list[Any], Field(min_length=1, max_length=MAX_ORDERS)]
    errorPolicy: Annotated[ErrorPolicy, Strict(False)] = ErrorPolicy.ACCEPT_VALID  # noqa: N815


class ListOrdersQuery(Query):
    """The query of `GET /orders`."""

    customerId: Id | None = None  # noqa: N815
    status: OrderStatus | None = None
    reason: DeclineCode | None = None
    since: Annotated[Time, Field(alias="from")] = FIRST_TIME
    until: Annotated[Time, Field(alias="to")] = LAST_TIME
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[OrderCursor, PlainValidator(cursor_reader(pagination.decode_listed))] | None = None


class GetOrderQuery(Query):
    """The query of `GET /order/{orderId}` and its status."""

    wait: Annotated[WholeNumber, Field(ge=0, le=MAX_WAIT)] = 0


def new_order(request: Request, new_id: Callable[[], str], now: str) -> Order:
    """The order in a `POST /order`.

    Raises:
        RequestInvalidError: with every invalid field.
    """
    body, of_body = read_body(NewOrder, request, MAX_BODY_BYTES)
    key = request_key(request, of_body)
    return _order(body, key.request_id if key else new_id(), request, fingerprint_of(request, of_body), now)


def new_orders(request: Request, new_id: Callable[[], str], now: str) -> Batch:
    """The orders in a `POST /orders`.

    Raises:
        RequestInvalidError: the batch itself is invalid, or an order for which the whole batch is refused.
    """
    body, of_body = read_body(NewOrders, request, MAX_BATCH_BYTES)
    key, fingerprint = request_key(request, of_body), fingerprint_of(request, of_body)
    entries: list[Order | OrderCaptureError] = []
    for index, values in enumerate(body.orders):
        try:
            order = validated(NewOrder, values, f"orders[{index}]")
        except RequestInvalidError as error:
            entries.append(error)
            continue
        order_id = _id_in_batch(key, index) if key else new_id()
        entries.append(_order(order, order_id, request, fingerprint, now))
    if body.errorPolicy is ErrorPolicy.REJECT_ALL:
        errors = [
            each for entry in entries if isinstance(entry, RequestInvalidError) for each in entry.errors
        ]
        if errors:
            raise RequestInvalidError(errors)
    request_id = key.request_id if key else None
    return Batch(entries, fingerprint, request_id, all_or_none=body.errorPolicy is ErrorPolicy.REJECT_ALL)


def orders_query(request: Request) -> OrderQuery:
    """The query of a `GET /orders`. Without a customer: a customer's own orders; for others, all orders.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    query = query_of(ListOrdersQuery, request)
    customer_id = query.customerId or request.caller.customer_id
    since, until = query.since, query.until
    if customer_id is None:
        since, until = second_of(since), second_of(until)
    if query.cursor is not None:
        place = query.cursor.create_time
        if len(place) != len(since) or not since <= place <= until:
            # A cursor of another list. DynamoDB would refuse it.
            raise RequestInvalidError([FieldError("cursor", NOT_A_CURSOR)])
    return OrderQuery(
        customer_id, query.since, query.until, query.status, query.limit, query.cursor, query.reason
    )


def wait_seconds(request: Request) -> int:
    """The seconds that a client wants to wait for an order's status to change.

    Raises:
        RequestInvalidError: too long, or not a number; or there is another parameter.
    """
    return query_of(GetOrderQuery, request).wait


def _id_in_batch(key: RequestKey, index: int) -> str:
    return str(uuid.uuid5(uuid.UUID(key.request_id), str(index)))


def _order(body: NewOrder, order_id: str, request: Request, fingerprint: str, now: str) -> Order:
    details = OrderDetails(
        order_id=order_id,
        customer_id=body.customerId,
        items=tuple(
            OrderLine(
                line.productId,
                line.qty,
                None if line.unitPrice is None else ACCOUNTS.amount(line.unitPrice),
            )
            for line in body.items
        ),
        total_amount=ACCOUNTS.amount(body.totalAmount),
    )
    return Order.place(
        details,
        now=now,
        correlation_id=request.correlation_id,
        fingerprint=fingerprint,
        callback_url=body.callbackUrl,
    )
