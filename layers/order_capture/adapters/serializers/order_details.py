"""Convert an order's details to and from their form in tables and messages, which uses the API's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_capture.adapters.serializers.fields import identifier, integer, mappings, number
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.order import OrderDetails, OrderLine


def order_details_values(details: OrderDetails) -> dict[str, Any]:
    """`{orderId, customerId, totalAmount, items: [{productId, qty, unitPrice}]}`; `unitPrice` is optional."""
    return {
        "orderId": details.order_id,
        "customerId": details.customer_id,
        "totalAmount": details.total_amount,
        "items": [_line_values(line) for line in details.items],
    }


def order_details_from(values: Mapping[str, Any]) -> OrderDetails:
    """The order details in an item or a message.

    Raises:
        UnreadableError, InvalidMessageError, ArithmeticError: the values are not an order's details.
    """
    return OrderDetails(
        order_id=identifier(values, "orderId"),
        customer_id=identifier(values, "customerId"),
        items=tuple(_line_from(item) for item in mappings(values, "items")),
        # DynamoDB drops trailing zeros; clients get amounts of money with two decimals.
        total_amount=ACCOUNTS.amount(number(values, "totalAmount")),
    )


def _line_values(line: OrderLine) -> dict[str, Any]:
    values = {"productId": line.product_id, "qty": line.qty}
    return values if line.unit_price is None else {**values, "unitPrice": line.unit_price}


def _line_from(values: Mapping[str, Any]) -> OrderLine:
    return OrderLine(
        identifier(values, "productId"),
        integer(values, "qty"),
        ACCOUNTS.amount(number(values, "unitPrice")) if "unitPrice" in values else None,
    )
