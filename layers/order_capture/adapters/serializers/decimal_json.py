"""JSON with exact numbers: a fraction is read and written as a Decimal.

All JSON from outside, of requests and of messages, is read here. Numbers are bounded: converting a text of
nine characters such as `1e9999999` to an integer would take a gigabyte of digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import simplejson

MAX_DIGITS = 30
"""The limit of a number's digits and of its exponent: far more than any of our numbers has."""


@dataclass(frozen=True, slots=True)
class NotANumber:
    """Stands for a number that is not read: too many digits, too large an exponent, or `NaN`.

    No field may have this type, so that the field's validation refuses it under the field's name.
    """

    text: str


class NotJsonError(ValueError):
    """A text is not JSON. The error's message can be shown to clients."""


def loads(text: str | bytes) -> Any:
    """Read JSON.

    Raises:
        NotJsonError: it is not JSON, is nested too deeply, has a name twice in one object, or has a number
            with too many digits.
    """
    return _decoded(_DECODER, text)


def loads_by_field(text: str | bytes) -> Any:
    """Read JSON. A number out of bounds becomes a `NotANumber`, which its field's validation refuses.

    Raises:
        NotJsonError: it is not JSON, is nested too deeply, or has a name twice in one object.
    """
    return _decoded(_DECODER_BY_FIELD, text)


def _decoded(decoder: simplejson.JSONDecoder, text: str | bytes) -> Any:
    try:
        return decoder.decode(text if isinstance(text, str) else text.decode())
    except simplejson.JSONDecodeError as error:
        raise NotJsonError(
            f"must be JSON, and is not at line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise NotJsonError("must be JSON in UTF-8") from error
    except RecursionError as error:
        raise NotJsonError("must not be nested so deeply") from error


def dumps(value: Any) -> str:
    """Write compact JSON."""
    return str(_ENCODER.encode(value))


def canonical(value: Any) -> str:
    """The same text for equal values, regardless of the order of names and the notation of numbers.

    Takes every value that this module reads.

    Raises:
        NotJsonError: it is nested too deeply.
    """
    try:
        return str(_CANONICAL_ENCODER.encode(value))
    except RecursionError as error:
        raise NotJsonError("must not be nested so deeply") from error


def _plain(number: Decimal | NotANumber) -> int | str:
    """The same result for 25, 25.0 and 2.5E+1. A "#" distinguishes a number from a text like it."""
    if isinstance(number, NotANumber):
        return f"#{number.text}"
    return int(number) if number == number.to_integral_value() else f"#{number.normalize():f}"


def _fraction(text: str) -> Decimal | NotANumber:
    # The digits, a sign, a point, and an exponent within bounds: "-1.5E+0030".
    if len(text) > MAX_DIGITS + 10:
        return NotANumber(text)
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent beyond what a Decimal can have
        return NotANumber(text)
    digits = len(number.as_tuple().digits)
    return NotANumber(text) if max(digits, abs(number.adjusted())) > MAX_DIGITS else number


def _integer(text: str) -> int | NotANumber:
    return int(text) if len(text) <= MAX_DIGITS else NotANumber(text)


def _readable(number: Any) -> Any:
    if isinstance(number, NotANumber):
        raise NotJsonError(f"must have no number of more than {MAX_DIGITS} digits, and no NaN or Infinity")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise NotJsonError("must not have a name twice in one object")
    return values


# Created once: simplejson's functions create one per call, which takes four times as long as the reading.
_DECODER = simplejson.JSONDecoder(
    parse_float=lambda text: _readable(_fraction(text)),
    parse_int=lambda text: _readable(_integer(text)),
    parse_constant=lambda text: _readable(NotANumber(text)),
    allow_nan=True,  # so that our own message refuses it
    object_pairs_hook=_unique,
)
_DECODER_BY_FIELD = simplejson.JSONDecoder(
    parse_float=_fraction,
    parse_int=_integer,
    parse_constant=NotANumber,
    allow_nan=True,
    object_pairs_hook=_unique,
)
# We have no named tuples, and checking each value for one takes a third of the writing time.
_ENCODER = simplejson.JSONEncoder(
    use_decimal=True, namedtuple_as_object=False, ensure_ascii=False, separators=(",", ":")
)
_CANONICAL_ENCODER = simplejson.JSONEncoder(
    use_decimal=False, namedtuple_as_object=False, default=_plain, sort_keys=True, separators=(",", ":")
)
