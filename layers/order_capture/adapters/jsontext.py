"""JSON whose numbers stay exact: a fraction is a Decimal on the way in and on the way out."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import simplejson

_INT_DIGITS = 30  # far more than any number of ours; Python itself refuses to read ints of over 4,300


class NotJsonError(ValueError):
    """A text is not JSON; the error's own text is fit for a client to read."""


def loads(text: str | bytes) -> Any:
    """Read JSON.

    NaN, Infinity and numbers of any size are read as Decimals, for whoever knows the field to refuse.

    Raises:
        NotJsonError: it is not JSON, is nested too deeply, or has a name twice in one object.
    """
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except simplejson.JSONDecodeError as error:
        raise NotJsonError(
            f"must be JSON, and is not at line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise NotJsonError("must be JSON in UTF-8") from error
    except RecursionError as error:
        raise NotJsonError("must not be nested so deeply") from error


def dumps(value: Any) -> str:
    """Write JSON, as short as it can be."""
    return str(_ENCODER.encode(value))


def canonical(value: Any) -> str:
    """The same text for the same value, however its names are ordered and its numbers written.

    Takes all that `loads` reads.
    """
    return str(_CANONICAL_ENCODER.encode(value))


def _plain(number: Decimal) -> int | str:
    """25, 25.0 and 2.5E+1 alike. A "#" tells a number from a text of the same characters."""
    if not number.is_finite() or abs(number.adjusted()) > _INT_DIGITS:
        return f"#{number}"
    return int(number) if number == number.to_integral_value() else f"#{number.normalize():f}"


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond what a Decimal can have
        return Decimal("Infinity")


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INT_DIGITS else _decimal(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise NotJsonError("must not have a name twice in one object")
    return values


# Made once: simplejson's own functions make one for each call, which takes four times as long as the reading.
_DECODER = simplejson.JSONDecoder(
    parse_float=_decimal,
    parse_int=_integer,
    parse_constant=Decimal,
    allow_nan=True,
    object_pairs_hook=_unique,
)
# Named tuples are not among our values: to ask each value whether it is one takes a third of the writing.
_ENCODER = simplejson.JSONEncoder(
    use_decimal=True, namedtuple_as_object=False, ensure_ascii=False, separators=(",", ":")
)
_CANONICAL_ENCODER = simplejson.JSONEncoder(
    use_decimal=False, namedtuple_as_object=False, default=_plain, sort_keys=True, separators=(",", ":")
)
