"""An item's size by DynamoDB's rules, which it bills."""

from __future__ import annotations

from typing import Any


def stored_size(item: dict[str, Any]) -> int:
    """The bytes that DynamoDB counts for an item, by its documented rules."""
    return sum(len(name.encode()) + _size(attribute) for name, attribute in item.items())


def _size(attribute: dict[str, Any]) -> int:
    ((kind, value),) = attribute.items()
    match kind:
        case "S":
            return len(value.encode())
        case "N":  # a byte per two digits, and one
            return len(value.strip("-0").replace(".", "")) // 2 + 2
        case "L":  # three for the list, and one for each element
            return 3 + sum(1 + _size(element) for element in value)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _size(inner) for name, inner in value.items())
    raise TypeError(kind)
