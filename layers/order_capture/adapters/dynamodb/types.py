"""Python values as DynamoDB's typed attributes and back, exactly: every number is a Decimal or an int.

boto3's own serializer does the same, but importing boto3 for it costs each cold start 15 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Item = dict[str, Any]


def to_item(values: Mapping[str, Any]) -> Item:
    """An item, or the values of an expression. Keys whose value is None are left out."""
    return {name: _to_attribute(value) for name, value in values.items() if value is not None}


MAX_EXPONENT = 30
"""DynamoDB takes numbers up to 1E+125. One beyond this is none of ours, and long to write out."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The value of an attribute of a type that none of ours has (a set, bytes, a truth value, null), or of a
    number beyond all bounds.

    A newer release may have written it, and whoever does not use it passes it over. As a field it is of no
    type that one may have.
    """

    kind: str


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an item; numbers come as Decimal, and what has no type of ours as `Foreign`."""
    return {name: _from_attribute(attribute) for name, attribute in item.items()}


def _to_attribute(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"S": str(value)}
        case Decimal():
            return {"N": f"{value:f}"}  # not every engine that stands in for DynamoDB reads "1E+3"
        case int():
            return {"N": str(value)}
        case Mapping():
            return {"M": to_item(value)}
        case list() | tuple():
            return {"L": [_to_attribute(element) for element in value]}
    raise TypeError(f"no attribute type for {type(value).__name__}")


def _from_attribute(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    match kind:
        case "S":
            return value
        case "N" if (number := Decimal(value)).adjusted() <= MAX_EXPONENT:
            return number
        case "M":
            return from_item(value)
        case "L":
            return [_from_attribute(element) for element in value]
    return Foreign(kind)
