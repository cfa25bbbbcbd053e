"""Read the fields of an item. Each must have its type: no type is converted to another.

An error names the attribute and never its value, since errors are logged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from order_capture.domain.errors import UnreadableError
from order_capture.domain.order import ID_PATTERN
from order_capture.domain.times import TIME_PATTERN

Values = Mapping[str, Any]
Choice = TypeVar("Choice", bound=StrEnum)

_REQUIRED: Any = object()

_ID = re.compile(ID_PATTERN)
_TIME = re.compile(TIME_PATTERN)


def text(values: Values, name: str, default: str = _REQUIRED) -> str:
    """A text; `default` if there is no such field and one is given."""
    value = _field(values, name, default)
    if not isinstance(value, str):
        raise _not(name, "a text")
    return value


def identifier(values: Values, name: str) -> str:
    """An id in any form that a release accepted; ids are part of keys."""
    value = text(values, name)
    if not _ID.fullmatch(value):
        raise _not(name, "an id")
    return value


def number(values: Values, name: str, default: Decimal = _REQUIRED) -> Decimal:
    """A number."""
    value = _field(values, name, default)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _not(name, "a number")
    return Decimal(value)


def integer(values: Values, name: str, default: int = _REQUIRED) -> int:
    """A whole number."""
    value = number(values, name, default if default is _REQUIRED else Decimal(default))
    if value != value.to_integral_value():
        raise _not(name, "a whole number")
    return int(value)


def time(values: Values, name: str, default: str = _REQUIRED) -> str:
    """A time in our format: UTC, to the millisecond."""
    value = text(values, name, default)
    if value != default and not _TIME.fullmatch(value):
        raise _not(name, "a time like 2026-11-20T10:00:00.000Z")
    return value


def choice(values: Values, name: str, choices: type[Choice]) -> Choice:
    """One of these texts."""
    try:
        return choices(text(values, name))
    except UnreadableError:
        raise
    except ValueError as error:
        raise _not(name, f"one of {', '.join(choices)}") from error


def mapping(values: Values, name: str) -> dict[str, Any]:
    """An object with fields."""
    value = _field(values, name, _REQUIRED)
    if not isinstance(value, dict):
        raise _not(name, "an object")
    return value


def texts(values: Values, name: str) -> list[str]:
    """A list of texts."""
    found = _list(values, name)
    if not all(isinstance(each, str) for each in found):
        raise _not(name, "a list of texts")
    return found


def mappings(values: Values, name: str) -> list[dict[str, Any]]:
    """A list of objects."""
    found = _list(values, name)
    if not all(isinstance(each, dict) for each in found):
        raise _not(name, "a list of objects")
    return found


def _list(values: Values, name: str) -> list[Any]:
    value = _field(values, name, _REQUIRED)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise _not(name, "a list")
    return list(value)


def _field(values: Values, name: str, default: Any) -> Any:
    if not isinstance(values, Mapping):
        raise UnreadableError("an object with fields is expected")
    if name not in values and default is not _REQUIRED:
        return default
    if name not in values:
        raise UnreadableError(f"{name} is missing")
    return values[name]


def _not(name: str, expected: str) -> UnreadableError:
    return UnreadableError(f"{name} must be {expected}")
