"""Read requests strictly: no unknown field, no wrong type, every size bounded.

The models are in a module per subject (`order_requests`, `ledger_requests`, `webhook_requests`, `reports`),
so that a function loads only its own. swagger.yaml documents the same for clients. Numbers are read exactly,
so that 0.1 is a tenth and a third decimal place is noticed.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from order_capture.adapters.serializers import decimal_json
from order_capture.application.callers import Caller
from order_capture.application.idempotency import RequestKey
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import MAX_TOTAL
from order_capture.domain.times import format_utc
from order_capture.entrypoints.http.problems import FieldError, RequestInvalidError, shown_name

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

MAX_BODY_BYTES = 32 * 1024  # the largest order, 50 items with ids of 64 characters and prices, takes 8 KiB
MAX_PAGE = 100  # what one DynamoDB call reads
# All of RFC 3339: letters of either case, any number of decimals, leap seconds, and each of its years.
_TIME = re.compile(
    r"([0-9]{4})(-[0-9]{2}-[0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|(60))(\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
# No order was placed before the first time, or will be after the second.
FIRST_TIME, LAST_TIME = "0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"

# Ids are bounded because they are part of keys, paths and logs. "." and ".." are dot segments of a URL (RFC
# 3986, 5.2.4). Clients remove them before sending, so that such an id could not be requested.
MAX_ID = 64
ID_PATTERN = r"^[.]*[A-Za-z0-9_:@+~-][A-Za-z0-9._:@+~-]*$"
PREFIX_PATTERN = r"^[A-Za-z0-9._:@+~-]{1,64}$"


def _number(value: Any) -> Any:
    """Convert JSON's whole numbers to decimals too; the model refuses other types."""
    if isinstance(value, decimal_json.NotANumber):
        raise PydanticCustomError("number", "no number")
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def not_null(value: Any) -> Any:
    """Refuse null for a field that may be left out."""
    if value is None:
        raise PydanticCustomError("is_instance_of", "null")
    return value


def _whole(value: Any) -> Any:
    """Convert 5.0 and 5e0 to 5, as JSON Schema does; the model refuses what is not a whole number."""
    is_whole = isinstance(value, Decimal) and value == value.to_integral_value()
    return int(value) if is_whole else value


def _id(value: Any) -> Any:
    """Raise an error with its own message; pattern and length are in the model, as in the contract."""
    if isinstance(value, str) and not is_id(value):
        raise PydanticCustomError("id", "no id")
    return value


def is_id(value: str) -> bool:
    """Whether a text can be an id."""
    return len(value) <= MAX_ID and bool(re.fullmatch(ID_PATTERN, value))


def _prefix(value: str) -> str:
    """Raise an error with its own message, as for an id."""
    if not re.fullmatch(PREFIX_PATTERN, value):
        raise PydanticCustomError("id_prefix", "no prefix")
    return value


def _two_places(value: Decimal) -> Decimal:
    """Limit the written decimal places: pydantic does not count trailing zeros."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -2:
        raise PydanticCustomError("decimal_max_places", "too many places", {"decimal_places": 2})
    return value + 0  # turns -0 into 0


def _instant(value: str) -> str:
    """A time in the orders' format, which sorts as text: UTC, to the millisecond."""
    try:
        match = _TIME.fullmatch(value)
        if not match:
            raise ValueError(value)
        year, day, is_leap, decimals = match.groups()
        if year == "0000":  # a leap year, which Python does not have
            datetime.fromisoformat(f"2000{day}")
            return FIRST_TIME
        if not is_leap:
            return format_utc(datetime.fromisoformat(value.upper()))
        # Computers do not count leap seconds: one is read as the beginning of the next second. There may be
        # one at the end of any month.
        minute = value.upper().replace(f":60{decimals or ''}", ":59")
        following = (datetime.fromisoformat(minute) + timedelta(seconds=1)).astimezone(UTC)
        if (following.day, following.hour, following.minute) != (1, 0, 0):
            raise ValueError(value)
        return format_utc(following)
    except OverflowError:  # the offset moves it before Python's first year, or after the last
        return FIRST_TIME if value < "5" else LAST_TIME
    except ValueError as error:
        raise PydanticCustomError("time", "not a time") from error


def _whole_number(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise PydanticCustomError("int_type", "not a whole number")
    return int(value)


Time = Annotated[str, BeforeValidator(_instant)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Id = Annotated[str, Field(pattern=ID_PATTERN, min_length=1, max_length=MAX_ID), BeforeValidator(_id)]
IdPrefix = Annotated[str, Field(pattern=PREFIX_PATTERN), BeforeValidator(_prefix)]
Number = Annotated[Decimal, BeforeValidator(_number)]
Money = Annotated[Number, AfterValidator(_two_places)]
Price = Annotated[Money, Field(ge=0, le=MAX_TOTAL)]
Units = Annotated[int, BeforeValidator(_whole)]


class Body(BaseModel):
    """The body of a request."""

    # A function answers many kinds of requests, but each call needs only one model: it is built when needed.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Query(BaseModel):
    """The query of a request. All of it is text."""

    model_config = ConfigDict(frozen=True, defer_build=True)


Model = TypeVar("Model", bound=BaseModel)
Cursor = TypeVar("Cursor")


def read(model: type[Model], body: bytes, limit: int) -> tuple[Model, str]:
    """A body and its fingerprint, which is the same for the same values.

    Raises:
        RequestInvalidError: it is over the limit, not JSON, or refused by the model.
    """
    if len(body) > limit:
        raise RequestInvalidError([FieldError("body", f"must be at most {limit} bytes")])
    try:
        values = decimal_json.loads_by_field(body)
        valid = validated(model, values)
        # Values that their fields will refuse may contain texts with half a character (a lone surrogate).
        canonical = decimal_json.canonical(values).encode("utf-8", "surrogatepass")
    except decimal_json.NotJsonError as error:
        raise RequestInvalidError([FieldError("body", str(error))]) from error
    return valid, hashlib.sha256(canonical).hexdigest()


def read_body(model: type[Model], request: Request, limit: int) -> tuple[Model, str]:
    """The JSON body of a request that has no parameters.

    Raises:
        RequestInvalidError: it has a parameter, or its body is over the limit or refused by the model.
        UnsupportedMediaTypeError: its Content-Type is not JSON.
    """
    request.refuse_parameters()
    request.expect_json()
    return read(model, request.body, limit)


def path_id(request: Request, name: str) -> str:
    """The id in a request's path.

    Raises:
        NotFoundError: it is not a valid id.
    """
    value = request.path_parameter(name)
    if not is_id(value):
        raise NotFoundError("Resource not found.")
    return value


def request_key(request: Request, of_body: str = "") -> RequestKey | None:
    """The request's Idempotency-Key as a `RequestKey`, if it has one. `of_body` is its body's fingerprint.

    Raises:
        RequestInvalidError: the key is not valid.
    """
    key = request.idempotency_key
    if key is None:
        return None
    return RequestKey(
        deterministic_id(request.caller, request.operation, key), fingerprint_of(request, of_body)
    )


def deterministic_id(caller: Caller, operation: str, key: str) -> str:
    """The id for an Idempotency-Key of this caller and operation.

    A new order or adjustment has this id itself, and so is also the record of its request: one conditional
    write does both.
    """
    return str(uuid.uuid5(uuid.uuid5(uuid.uuid5(_NAMESPACE, caller.subject), operation), key))


_NAMESPACE = uuid.UUID("6f1c7d5e-0b52-4d0f-9a55-3c8f5b1f8f10")  # any constant; it must never change


def fingerprint_of(request: Request, of_body: str) -> str:
    """A fingerprint of a request's path, query and body: the same for equal values in any notation."""
    path = {name: request.path_parameter(name) for name in request.path}
    canonical = decimal_json.canonical({"path": path, "query": request.query, "body": of_body})
    return hashlib.sha256(canonical.encode()).hexdigest()


def validated(model: type[Model], values: Any, place: str = "") -> Model:
    """The values of a request as their model; `place` is the field that contains them, if there is one.

    Raises:
        RequestInvalidError: with every invalid field.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise RequestInvalidError([_error(place, each) for each in details]) from error


def query_of(model: type[Model], request: Request) -> Model:
    """A request's query as its model.

    Raises:
        RequestInvalidError: with every parameter that is invalid, or that the model does not have.
    """
    names = [field.alias or name for name, field in model.model_fields.items()]
    return validated(model, request.parameters(*names))


def cursor_reader(read_cursor: Callable[[str], Cursor]) -> Callable[[str], Cursor]:
    """A validator that reads a cursor with `read`, which raises ValueError if it is not one."""

    def read(value: str) -> Cursor:
        try:
            return read_cursor(value)
        except ValueError as error:
            raise PydanticCustomError("cursor", "not a cursor") from error

    return read


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


NOT_A_CURSOR = "must be a cursor from an earlier response to this request"
_MESSAGES = {
    "bool_type": "must be true or false",
    "cursor": NOT_A_CURSOR,
    "date": "must be a date, like 2026-11-20",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "enum": "must be {expected}",
    "extra_forbidden": "is not a field of this request",
    "finite_number": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "https": "must begin with https://",
    "id": f"must be 1 to {MAX_ID} of the characters A-Z a-z 0-9 . _ : @ + ~ -, not only dots",
    "id_prefix": f"must be 1 to {MAX_ID} of the characters A-Z a-z 0-9 . _ : @ + ~ -",
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
    "true": "must be true",
    "unit_price_differs": "must be {price}, the unitPrice of {item} with the same product",
    "unit_price_missing": "is required, because another item has one",
    "uri": "must percent-encode every character that a URI does not allow, including %",
    "url": "must be an https:// URL of a hostname in ASCII, without user and fragment",
}
