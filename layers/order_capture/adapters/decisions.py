"""A check's answer as the tables and the messages carry it, under the names that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from order_capture.domain.order import Decision, DeclineCode, Outcome


def decision_values(decision: Decision) -> dict[str, Any]:
    """`{outcome, code, id, asked, available}`; what does not apply is None."""
    return {
        "outcome": decision.outcome,
        "code": decision.code,
        "id": decision.entity,
        "asked": decision.asked,
        "available": decision.available,
    }


def decision_from(values: Mapping[str, Any]) -> Decision:
    """The decision in an item or a message.

    Raises:
        KeyError, TypeError, ValueError, decimal.InvalidOperation: it is not one.
    """
    code, available = values.get("code"), values.get("available")
    return Decision(
        outcome=Outcome(values["outcome"]),
        asked=Decimal(values["asked"]),
        entity=values.get("id"),
        code=DeclineCode(code) if code else None,
        available=None if available is None else Decimal(available),
    )
