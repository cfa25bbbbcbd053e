"""What clients may send, checked strictly: no field too many, none mistyped, every size bounded.

swagger.yaml says the same to clients. Numbers are read as they were written, so that 0.1 is a tenth and a
third decimal place is seen.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from order_capture.adapters.serializers import decimal_json
from order_capture.application.callers import Caller
from order_capture.application.idempotency import RequestKey
from order_capture.application.ledger.adjust_balance import BalanceRequest
from order_capture.application.orders.capture_orders import Batch
from order_capture.application.orders.list_orders import OrderQuery
from order_capture.application.ports import OrderCursor
from order_capture.domain.errors import NotFoundError, OrderCaptureError
from order_capture.domain.ledger import ACCOUNTS, STOCK, UNPRICED
from order_capture.domain.order import (
    MAX_ITEMS,
    MAX_QTY,
    MAX_TOTAL,
    Order,
    OrderDetails,
    OrderLine,
    OrderStatus,
)
from order_capture.domain.times import format_utc
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError, shown_name
from order_capture.entrypoints.http.urls import Url

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

MAX_BODY_BYTES = 32 * 1024  # the largest order, 50 items with ids of 64 characters and prices, takes 8 KiB
MAX_BATCH_BYTES = 1024 * 1024  # a hundred of them take 800 KiB
MAX_ORDERS = 100  # what one DynamoDB transaction can write

MAX_WAIT = 20  # seconds; the function has 25, API Gateway 29
MAX_PAGE = 100  # what one DynamoDB call reads
# RFC 3339, all of it: letters of either case, any number of decimals, leap seconds, and each of its years.
_TIME = re.compile(
    r"([0-9]{4})(-[0-9]{2}-[0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|(60))(\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
# Before and after these times nothing was or will be ordered.
FIRST_TIME, LAST_TIME = "0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"

# Ids are ours to bound: they are part of keys, of paths and of logs. "." and ".." in an address are steps
# within it (RFC 3986, 5.2.4), which clients take before they send anything: nobody could ask for such an id.
MAX_ID = 64
ID_PATTERN = r"^[.]*[A-Za-z0-9_:@+~-][A-Za-z0-9._:@+~-]*$"


def _number(value: Any) -> Any:
    """Take JSON's whole numbers for decimals too; leave what is no number to be refused."""
    if isinstance(value, decimal_json.NotANumber):
        raise PydanticCustomError("number", "no number")
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _not_null(value: Any) -> Any:
    """What may be left out may still not be null."""
    if value is None:
        raise PydanticCustomError("is_instance_of", "null")
    return value


def _whole(value: Any) -> Any:
    """Take 5.0 and 5e0 for 5, as JSON Schema does; leave what is no whole number to be refused."""
    is_whole = isinstance(value, Decimal) and value == value.to_integral_value()
    return int(value) if is_whole else value


def _id(value: Any) -> Any:
    """Say what is wrong in words of its own; pattern and length are in the model, as in the contract."""
    if isinstance(value, str) and not _is_id(value):
        raise PydanticCustomError("id", "no id")
    return value


def _is_id(value: str) -> bool:
    return len(value) <= MAX_ID and bool(re.fullmatch(ID_PATTERN, value))


def _two_places(value: Decimal) -> Decimal:
    """Count the places that were written: pydantic's own count passes over zeros at the end."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -2:
        raise PydanticCustomError("decimal_max_places", "too many places", {"decimal_places": 2})
    return value + 0  # which makes 0 of -0


def _instant(value: str) -> str:
    """A time as the orders carry it, which sorts as text: UTC, to the millisecond."""
    try:
        match = _TIME.fullmatch(value)
        if not match:
            raise ValueError(value)
        year, day, is_leap, decimals = match.groups()
        if year == "0000":  # a leap year, and none of Python's
            datetime.fromisoformat(f"2000{day}")
            return FIRST_TIME
        if not is_leap:
            return format_utc(datetime.fromisoformat(value.upper()))
        # A leap second is no second of UTC's days as computers count them: it is where the next one begins.
        # There may be one at the end of any month.
        minute = value.upper().replace(f":60{decimals or ''}", ":59")
        following = (datetime.fromisoformat(minute) + timedelta(seconds=1)).astimezone(UTC)
        if (following.day, following.hour, following.minute) != (1, 0, 0):
            raise ValueError(value)
        return format_utc(following)
    except OverflowError:  # by its offset before the first of Python's years, or after the last
        return FIRST_TIME if value < "5" else LAST_TIME
    except ValueError as error:
        raise PydanticCustomError("time", "not a time") from error


def _whole_number(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise PydanticCustomError("int_type", "not a whole number")
    return int(value)


def _place(value: str) -> OrderCursor:
    try:
        return pagination.decode(value)
    except ValueError as error:
        raise PydanticCustomError("cursor", "not a cursor") from error


Time = Annotated[str, BeforeValidator(_instant)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Cursor = Annotated[OrderCursor, PlainValidator(_place)]
Id = Annotated[str, Field(pattern=ID_PATTERN, min_length=1, max_length=MAX_ID), BeforeValidator(_id)]
Number = Annotated[Decimal, BeforeValidator(_number)]
Money = Annotated[Number, AfterValidator(_two_places)]
Price = Annotated[Money, Field(ge=0, le=MAX_TOTAL)]
Units = Annotated[int, BeforeValidator(_whole)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NewOrderLine(_Body):
    """So many units of a product, each at a price if it is named."""

    productId: Id  # noqa: N815 - the contract's name
    qty: Annotated[Units, Field(ge=1, le=MAX_QTY)]
    unitPrice: Annotated[Price | None, BeforeValidator(_not_null)] = None  # noqa: N815


class NewOrder(_Body):
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
    """What is wrong with the unit prices of an order, if any of its items has one."""
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
    """What becomes of a batch in which some orders are not valid."""

    ACCEPT_VALID = "ACCEPT_VALID"
    REJECT_ALL = "REJECT_ALL"


class NewOrders(_Body):
    """The body of `POST /orders`. Its entries are looked at one by one, so that a bad one stops no other."""

    orders: Annotated[list[Any], Field(min_length=1, max_length=MAX_ORDERS)]
    errorPolicy: Annotated[ErrorPolicy, Strict(False)] = ErrorPolicy.ACCEPT_VALID  # noqa: N815


class _Change(_Body):
    """Exactly one of `balance` and `adjust`; where there is a `price`, it may come alone."""

    @model_validator(mode="after")
    def _one_of_two(self) -> _Change:
        given = {name: getattr(self, name) for name in self.model_fields_set & {"balance", "adjust"}}
        if not given and "price" in type(self).model_fields:
            if "price" in self.model_fields_set:
                return self
            raise PydanticCustomError(
                "one_of", "one of balance, adjust and price is required", {"field": "balance"}
            )
        if len(given) != 1 or None in given.values():
            raise PydanticCustomError(
                "one_of", "exactly one of balance and adjust is required", {"field": "balance"}
            )
        return self


class AccountChange(_Change):
    """The body of `POST /account`."""

    customerId: Id  # noqa: N815
    balance: Annotated[Money, Field(ge=0, le=ACCOUNTS.max_balance)] | None = None
    adjust: Annotated[Money, Field(ge=-ACCOUNTS.max_balance, le=ACCOUNTS.max_balance)] | None = None


class StockChange(_Change):
    """The body of `POST /stock`."""

    productId: Id  # noqa: N815
    balance: Annotated[Units, Field(ge=0, le=int(STOCK.max_balance))] | None = None
    adjust: Annotated[Units, Field(ge=-int(STOCK.max_balance), le=int(STOCK.max_balance))] | None = None
    price: Price | None = None


class ListOrdersQuery(BaseModel):
    """The query of `GET /orders`."""

    model_config = ConfigDict(frozen=True)

    customerId: Id  # noqa: N815
    status: OrderStatus | None = None
    since: Annotated[Time, Field(alias="from")] = FIRST_TIME
    until: Annotated[Time, Field(alias="to")] = LAST_TIME
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Cursor | None = None


class GetOrderQuery(BaseModel):
    """The query of `GET /order/{orderId}` and its status."""

    model_config = ConfigDict(frozen=True)

    wait: Annotated[WholeNumber, Field(ge=0, le=MAX_WAIT)] = 0


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], body: bytes, limit: int) -> tuple[Model, str]:
    """A body and its fingerprint, which is the same for the same values.

    Raises:
        RequestInvalidError: it is over the limit, not JSON, or not what the model asks for.
    """
    if len(body) > limit:
        raise RequestInvalidError([FieldError("body", f"must be at most {limit} bytes")])
    try:
        values = decimal_json.loads_by_field(body)
        valid = _validated(model, values)
        # Of values that are refused by their fields there may be texts with half a character.
        canonical = decimal_json.canonical(values).encode("utf-8", "surrogatepass")
    except decimal_json.NotJsonError as error:
        raise RequestInvalidError([FieldError("body", str(error))]) from error
    return valid, hashlib.sha256(canonical).hexdigest()


def read_body(model: type[Model], request: Request, limit: int) -> tuple[Model, str]:
    """The body of a request whose effect hangs on nothing else: it has no parameters, and its body is JSON.

    Raises:
        RequestInvalidError: it has a parameter, or its body is over the limit or not what the model asks for.
        UnsupportedMediaTypeError: it calls its body something else than JSON.
    """
    request.refuse_parameters()
    request.expect_json()
    return read(model, request.body, limit)


def new_order(request: Request, new_id: Callable[[], str], now: str) -> Order:
    """The order that `POST /order` asks for.

    Raises:
        RequestInvalidError: with every field that is wrong.
    """
    body, of_body = read_body(NewOrder, request, MAX_BODY_BYTES)
    key = request_key(request, of_body)
    return _order(body, key.request_id if key else new_id(), request, _fingerprint(request, of_body), now)


def new_orders(request: Request, new_id: Callable[[], str], now: str) -> Batch:
    """The orders that `POST /orders` asks for.

    Raises:
        RequestInvalidError: the batch itself is wrong, or an order in it that is to stop all others.
    """
    body, of_body = read_body(NewOrders, request, MAX_BATCH_BYTES)
    key, fingerprint = request_key(request, of_body), _fingerprint(request, of_body)
    entries: list[Order | OrderCaptureError] = []
    for index, values in enumerate(body.orders):
        try:
            order = _validated(NewOrder, values, f"orders[{index}]")
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


def account_change(request: Request, new_id: Callable[[], str]) -> BalanceRequest:
    """What `POST /account` asks for.

    Raises:
        RequestInvalidError: with every field that is wrong.
    """
    body, of_body = read_body(AccountChange, request, MAX_BODY_BYTES)
    return _change(body.customerId, body.balance, body.adjust, of_body, request, new_id)


def stock_change(request: Request, new_id: Callable[[], str]) -> BalanceRequest:
    """What `POST /stock` asks for.

    Raises:
        RequestInvalidError: with every field that is wrong.
    """
    body, of_body = read_body(StockChange, request, MAX_BODY_BYTES)
    balance, adjust = (None if units is None else Decimal(units) for units in (body.balance, body.adjust))
    change = _change(body.productId, balance, adjust, of_body, request, new_id)
    if "price" not in body.model_fields_set:
        return change
    if balance is None and adjust is None:
        change = replace(change, adjust=Decimal(0))
    return replace(change, price=UNPRICED if body.price is None else ACCOUNTS.amount(body.price))


def deletion(request: Request, new_id: Callable[[], str], name: str) -> BalanceRequest:
    """Whom or what a `DELETE` asks to be deleted; `name` is the path parameter's.

    Raises:
        NotFoundError: nothing can have such an id.
        RequestInvalidError: with every header or parameter that is wrong.
    """
    entity = path_id(request, name)
    request.refuse_parameters()
    return _change(entity, None, None, "", request, new_id, delete=True)


def orders_query(request: Request) -> OrderQuery:
    """Which orders `GET /orders` asks for.

    Raises:
        RequestInvalidError: with every parameter that is wrong.
    """
    query = query_of(ListOrdersQuery, request)
    if query.cursor is not None and not query.since <= query.cursor.create_time <= query.until:
        # Of another list than this one. DynamoDB would refuse it.
        raise RequestInvalidError([FieldError("cursor", NOT_A_CURSOR)])
    return OrderQuery(query.customerId, query.since, query.until, query.status, query.limit, query.cursor)


def wait_seconds(request: Request) -> int:
    """How long a client wants to wait for an order's status to change.

    Raises:
        RequestInvalidError: too long, or no number; or there is another parameter.
    """
    return query_of(GetOrderQuery, request).wait


def path_id(request: Request, name: str) -> str:
    """The id in a request's path.

    Raises:
        NotFoundError: nothing can have such an id.
    """
    value = request.path_parameter(name)
    if not _is_id(value):
        raise NotFoundError("Nothing has such an id.")
    return value


def request_key(request: Request, of_body: str = "") -> RequestKey | None:
    """What the request's Idempotency-Key stands for, if it has one. `of_body` is its body's fingerprint.

    Raises:
        RequestInvalidError: it is no key.
    """
    key = request.idempotency_key
    if key is None:
        return None
    return RequestKey(
        deterministic_id(request.caller, request.operation, key), _fingerprint(request, of_body)
    )


def deterministic_id(caller: Caller, operation: str, key: str) -> str:
    """The id that an Idempotency-Key stands for: that of its caller, for this operation.

    A new order or adjustment has this id itself, and is then the record that its request came before: one
    conditional write does both.
    """
    return str(uuid.uuid5(uuid.uuid5(uuid.uuid5(_NAMESPACE, caller.subject), operation), key))


_NAMESPACE = uuid.UUID("6f1c7d5e-0b52-4d0f-9a55-3c8f5b1f8f10")  # any constant; it must never change


def _id_in_batch(key: RequestKey, index: int) -> str:
    return str(uuid.uuid5(uuid.UUID(key.request_id), str(index)))


def _fingerprint(request: Request, of_body: str) -> str:
    """The same for the same request: what its path, query and body say, however they are written."""
    path = {name: request.path_parameter(name) for name in request.path}
    canonical = decimal_json.canonical({"path": path, "query": request.query, "body": of_body})
    return hashlib.sha256(canonical.encode()).hexdigest()


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


def _change(
    entity: str,
    balance: Decimal | None,
    adjust: Decimal | None,
    of_body: str,
    request: Request,
    new_id: Callable[[], str],
    *,
    delete: bool = False,
) -> BalanceRequest:
    key, fingerprint = request_key(request, of_body), _fingerprint(request, of_body)
    adjustment_id = key.request_id if key else new_id()
    return BalanceRequest(entity, adjustment_id, fingerprint, key is not None, balance, adjust, delete)


def _validated(model: type[Model], values: Any, place: str = "") -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise RequestInvalidError([_error(place, each) for each in details]) from error


def query_of(model: type[Model], request: Request) -> Model:
    """A request's query, by its model.

    Raises:
        RequestInvalidError: with every parameter that is wrong, or that the model does not have.
    """
    names = [field.alias or name for name, field in model.model_fields.items()]
    return _validated(model, request.parameters(*names))


def _field(place: str, *location: int | str) -> str:
    """`"items", 0, "qty"` as `items[0].qty`."""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{shown_name(part)}" if place else shown_name(part)
    return place or "body"


def _error(place: str, error: ErrorDetails) -> FieldError:
    if error["type"] == "one_of":
        return FieldError(_field(place, error["ctx"]["field"]), error["msg"])
    bounds = {
        name: re.sub(r"Decimal\('(.*)'\)", r"\1", str(bound)) for name, bound in error.get("ctx", {}).items()
    }
    message = _MESSAGES.get(error["type"], "is not valid").format(**bounds)
    return FieldError(_field(place, *error["loc"]), message)


NOT_A_CURSOR = "must be one that an answer to this request gave"
_MESSAGES = {
    "cursor": NOT_A_CURSOR,
    "date": "must be a date, like 2026-11-20",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "enum": "must be {expected}",
    "extra_forbidden": "is not a field of this request",
    "finite_number": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "https": "must begin with https://",
    "id": f"must be 1 to {MAX_ID} of the characters A-Z a-z 0-9 . _ : @ + ~ -, not only dots",
    "int_type": "must be a whole number",
    "is_instance_of": "must be a number",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "model_type": "must be an object",
    "number": f"must be a number of at most {decimal_json.MAX_DIGITS} digits",
    "own_port": "must not be the port of the local engine itself",
    "string_too_long": "must be at most {max_length} characters",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "time": "must be a date and time with its offset, like 2026-11-20T10:00:00Z",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entry",
    "total_amount": "must be the sum of qty x unitPrice, which is {sum}, not {total}",
    "unit_price_differs": "must be {price}, that of {item}, which is of the same product",
    "unit_price_missing": "is required, since another item has one",
    "uri": "must have each character that a URI may not have, % included, percent-encoded",
    "url": "must be an https:// address of a named host, in ASCII, with no user and no fragment",
}
