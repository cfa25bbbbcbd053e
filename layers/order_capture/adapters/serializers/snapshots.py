"""How accounts and stock stand, under the contract's names."""

from __future__ import annotations

from typing import Any

from order_capture.domain.ledger import Balance, LedgerSpec
from order_capture.domain.order import CheckType

ENTITY_NAMES = {CheckType.BALANCE: "customerId", CheckType.STOCK: "productId"}
"""What an id of a ledger's is called."""


def amounts(kind: LedgerSpec, head: Balance) -> dict[str, Any]:
    """The figures of a head, with their decimals; and its price, if it has one."""
    price = {} if head.price is None else {"price": head.price}
    return {
        "balance": kind.amount(head.balance),
        "held": kind.amount(head.held),
        "settled": kind.amount(head.settled),
        **price,
    }
