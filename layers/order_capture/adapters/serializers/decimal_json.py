"""JSON whose numbers stay exact: a fraction is a Decimal on the way in and on the way out.

The one place where JSON of others is read, of requests and of messages alike. A number has bounds here: nine
characters such as `1e9999999` would otherwise be a gigabyte of digits for whoever makes an integer of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import simplejson

MAX_DIGITS = 30
"""Of a number, and of its exponent's reach: far more than any number of ours."""


@dataclass(frozen=True, slots=True)
class NotANumber:
    """What stands where a number should and is none that is read: too long, too far out, or `NaN`.

    It is of no type that a field may have, so that whoever knows the field refuses it by its name.
    """

    text: str


class NotJsonError(ValueError):
    """A text is not JSON; the error's own text is fit for a client to read."""


def loads(text: str | bytes) -> Any:
    """Read JSON.

    Raises:
        NotJsonError: it is not JSON, is nested too deeply, has a name twice in one object, or a number in
            it has too many digits.
    """
    return _decoded(_DECODER, text)


def loads_by_field(text: str | bytes) -> Any:
    """Read JSON in which a number may be none: a `NotANumber`, which its own field is to refuse.

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
    """Write JSON, as short as it can be."""
    return str(_ENCODER.encode(value))


def canonical(value: Any) -> str:
    """The same text for the same value, however its names are ordered and its numbers written.

    Takes all that is read here.

    Raises:
        NotJsonError: it is nested too deeply.
    """
    try:
        return str(_CANONICAL_ENCODER.encode(value))
    except RecursionError as error:
        raise NotJsonError("must not be nested so deeply") from error


def _plain(number: Decimal | NotANumber) -> int | str:
    """25, 25.0 and 2.5E+1 alike. A "#" distinguishes a number from a text of the same characters."""
    if isinstance(number, NotANumber):
        return f"#{number.text}"
    return int(number) if number == number.to_integral_value() else f"#{number.normalize():f}"


def _fraction(text: str) -> Decimal | NotANumber:
    # The digits, a sign, a point, and an exponent that says what is within reach: "-1.5E+0030".
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


# Made once: simplejson's own functions make one for each call, which takes four times as long as the reading.
_DECODER = simplejson.JSONDecoder(
    parse_float=lambda text: _readable(_fraction(text)),
    parse_int=lambda text: _readable(_integer(text)),
    parse_constant=lambda text: _readable(NotANumber(text)),
    allow_nan=True,  # for it to be refused in our words
    object_pairs_hook=_unique,
)
_DECODER_BY_FIELD = simplejson.JSONDecoder(
    parse_float=_fraction,
    parse_int=_integer,
    parse_constant=NotANumber,
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
