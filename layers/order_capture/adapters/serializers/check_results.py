"""Convert a check's result to and from its form in tables and messages, which uses the API's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_capture.adapters.serializers.fields import choice, number, text
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.order import CheckResult, Outcome


def check_result_values(decision: CheckResult) -> dict[str, Any]:
    """`{outcome, code, id, asked, available}`; values that do not apply are None. `price` and `unitPrice` are
    present where the price was the reason to decline."""
    prices = {} if decision.price is None else {"price": decision.price, "unitPrice": decision.unit_price}
    return {
        "outcome": decision.outcome,
        "code": decision.code,
        "id": decision.entity,
        "asked": decision.requested,
        "available": decision.available,
        **prices,
    }


def check_result_from(values: Mapping[str, Any]) -> CheckResult:
    """The check result in an item or a message.

    Raises:
        UnreadableError, ArithmeticError: the values are not a check result.
    """
    given = {name for name, value in values.items() if value is not None}
    return CheckResult(
        outcome=choice(values, "outcome", Outcome),
        requested=number(values, "asked"),
        entity=text(values, "id") if "id" in given else None,
        code=text(values, "code") if "code" in given else None,  # a later release may have more codes
        available=number(values, "available") if "available" in given else None,
        # DynamoDB drops trailing zeros; the order's log shows both decimals of a price.
        price=ACCOUNTS.amount(number(values, "price")) if "price" in values else None,
        unit_price=ACCOUNTS.amount(number(values, "unitPrice")) if "unitPrice" in given else None,
    )
