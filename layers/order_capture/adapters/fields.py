"""The values of a message or an item, each of the JSON type that it is to have: none is made from another."""

from __future__ import annotations

import re
from decimal import Decimal

# Requests have a narrower one. What was taken by it before is still carried.
ID_PATTERN = r"^[A-Za-z0-9._:@+~-]{1,64}$"
_ID = re.compile(ID_PATTERN)
_TIME = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)


def text(value: object) -> str:
    """A text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def identifier(value: object) -> str:
    """An id as any release took it: it is part of keys.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not _ID.fullmatch(text(value)):
        raise ValueError("an id expected")
    return text(value)


def time(value: object) -> str:
    """A time as all of ours are written: in UTC, to the millisecond.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not _TIME.fullmatch(text(value)):
        raise ValueError("a time expected, like 2026-11-20T10:00:00.000Z")
    return text(value)


def number(value: object) -> Decimal:
    """A number.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(f"a number expected, not {type(value).__name__}")
    return Decimal(value)


def whole_number(value: object) -> int:
    """A number without decimals, however it is written: 5, 5.0 and 5e0 are the same.

    Raises:
        TypeError, ValueError: it is none.
    """
    exact = number(value)
    if exact != exact.to_integral_value():
        raise ValueError("a whole number expected")
    return int(exact)


def count(value: object) -> int:
    """A whole number of at least 0.

    Raises:
        TypeError, ValueError: it is none.
    """
    if whole_number(value) < 0:
        raise ValueError("a number of at least 0 expected")
    return whole_number(value)
