"""The records that an event source mapping's filters pass, by the AWS rules that we use."""

from __future__ import annotations

import json
from typing import Any

Filter = dict[str, Any]


def filters_of(event: dict[str, Any]) -> list[Filter]:
    """A source's filter patterns; without any, everything passes."""
    filters = event.get("FilterCriteria", {}).get("Filters", [])
    return [json.loads(each["Pattern"]) for each in filters] or [{}]


def matches(record: Any, pattern: Filter) -> bool:
    """Whether a record passes a filter."""
    for name, rule in pattern.items():
        value = record.get(name)
        if isinstance(rule, dict):
            if not (isinstance(value, dict) and matches(value, rule)):
                return False
        elif not any(value == each if each != {"exists": True} else value is not None for each in rule):
            return False
    return True
