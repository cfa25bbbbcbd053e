"""A check's answer as the tables and the messages carry it, under the names that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_capture.adapters.fields import number, text
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.order import Decision, Outcome


def decision_values(decision: Decision) -> dict[str, Any]:
    """`{outcome, code, id, asked, available}`; what does not apply is None. `price` and `unitPrice` are there
    where the price is why it was declined."""
    prices = {} if decision.price is None else {"price": decision.price, "unitPrice": decision.unit_price}
    return {
        "outcome": decision.outcome,
        "code": decision.code,
        "id": decision.entity,
        "asked": decision.asked,
        "available": decision.available,
        **prices,
    }


def decision_from(values: Mapping[str, Any]) -> Decision:
    """The decision in an item or a message.

    Raises:
        KeyError, TypeError, ValueError, decimal.InvalidOperation: it is not one.
    """
    entity, code, available = (values.get(name) for name in ("id", "code", "available"))
    unit_price = values.get("unitPrice")
    return Decision(
        outcome=Outcome(text(values["outcome"])),
        asked=number(values["asked"]),
        entity=None if entity is None else text(entity),
        code=None if code is None else text(code),  # whatever it is: a later release may have more
        available=None if available is None else number(available),
        # DynamoDB drops trailing zeros, and the order's log has both decimals of a price.
        price=ACCOUNTS.amount(number(values["price"])) if "price" in values else None,
        unit_price=None if unit_price is None else ACCOUNTS.amount(number(unit_price)),
    )
