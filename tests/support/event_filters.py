"""Which records an event source mapping's filters let through, by those of AWS's rules that we use."""

from __future__ import annotations

import json
from typing import Any

Filter = dict[str, Any]


def filters_of(event: dict[str, Any]) -> list[Filter]:
    """What a source lets through, each a pattern; with none, everything."""
    filters = event.get("FilterCriteria", {}).get("Filters", [])
    return [json.loads(each["Pattern"]) for each in filters] or [{}]


def matches(record: Any, pattern: Filter) -> bool:
    """Whether a filter lets a record through."""
    for name, rule in pattern.items():
        value = record.get(name)
        if isinstance(rule, dict):
            if not (isinstance(value, dict) and matches(value, rule)):
                return False
        elif not any(value == each if each != {"exists": True} else value is not None for each in rule):
            return False
    return True
