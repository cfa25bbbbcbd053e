"""What was ordered, as the tables and the messages carry it, under the names that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_capture.adapters.reading import identifier, mappings, number, whole
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.order import Line, OrderTerms


def terms_values(terms: OrderTerms) -> dict[str, Any]:
    """`{orderId, customerId, totalAmount, items: [{productId, qty, unitPrice}]}`, where it has one."""
    return {
        "orderId": terms.order_id,
        "customerId": terms.customer_id,
        "totalAmount": terms.total_amount,
        "items": [_line_values(line) for line in terms.items],
    }


def terms_from(values: Mapping[str, Any]) -> OrderTerms:
    """The terms in an item or a message.

    Raises:
        UnreadableError, InvalidMessageError, ArithmeticError: they are not an order's.
    """
    return OrderTerms(
        order_id=identifier(values, "orderId"),
        customer_id=identifier(values, "customerId"),
        items=tuple(_line_from(item) for item in mappings(values, "items")),
        # DynamoDB drops trailing zeros; a client gets back the two decimals that money has.
        total_amount=ACCOUNTS.amount(number(values, "totalAmount")),
    )


def _line_values(line: Line) -> dict[str, Any]:
    values = {"productId": line.product_id, "qty": line.qty}
    return values if line.unit_price is None else {**values, "unitPrice": line.unit_price}


def _line_from(values: Mapping[str, Any]) -> Line:
    return Line(
        identifier(values, "productId"),
        whole(values, "qty"),
        ACCOUNTS.amount(number(values, "unitPrice")) if "unitPrice" in values else None,
    )
