"""Convert Python values to DynamoDB's typed attributes and back, exactly: a number is a Decimal or an int.

Uses boto3's own conversion, restricted to the types that our items have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

Item = dict[str, Any]

MAX_EXPONENT = 30
"""DynamoDB takes numbers up to 1E+125. A number beyond this bound is not ours, and long to write out."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The value of an attribute whose type our items do not have (a set, bytes, a boolean, null), or of a
    number out of bounds.

    A newer release may have written it. Code that does not use the attribute ignores it; code that reads it
    as a field refuses it, since no field has this type.
    """

    kind: str


def to_item(values: Mapping[str, Any]) -> Item:
    """An item, or the values of an expression. Keys whose value is None are left out."""
    return {name: _serializer.serialize(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an item. Numbers are Decimal; a value of a type that we do not use is `Foreign`."""
    return {name: _deserializer.deserialize(attribute) for name, attribute in item.items()}


class _Serializer(TypeSerializer):
    def serialize(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {"M": to_item(value)}
        attribute: Any = super().serialize(value)
        if isinstance(value, Decimal):
            # Without an exponent: not every local DynamoDB engine reads "1E+3".
            return {"N": f"{Decimal(attribute['N']):f}"}
        return attribute


class _Deserializer(TypeDeserializer):
    def deserialize(self, value: Any) -> Any:
        ((kind, _),) = value.items()
        if kind not in ("S", "N", "M", "L"):
            return Foreign(kind)
        try:
            content = super().deserialize(value)
        except ArithmeticError:  # more digits than DynamoDB itself can store
            return Foreign(kind)
        return Foreign(kind) if kind == "N" and content.adjusted() > MAX_EXPONENT else content


_serializer, _deserializer = _Serializer(), _Deserializer()
