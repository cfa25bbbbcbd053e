"""Python values as DynamoDB's typed attributes and back, exactly: every number is a Decimal or an int.

boto3's own conversion, and what of it is not ours: its types are more than those that our items have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

Item = dict[str, Any]

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


def to_item(values: Mapping[str, Any]) -> Item:
    """An item, or the values of an expression. Keys whose value is None are left out."""
    return {name: _serializer.serialize(value) for name, value in values.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an item; numbers come as Decimal, and what has no type of ours as `Foreign`."""
    return {name: _deserializer.deserialize(attribute) for name, attribute in item.items()}


class _Serializer(TypeSerializer):
    def serialize(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {"M": to_item(value)}
        attribute: Any = super().serialize(value)
        if isinstance(value, Decimal):
            # Without an exponent: not every engine that stands in for DynamoDB reads "1E+3".
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
