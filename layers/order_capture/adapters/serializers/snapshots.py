"""The state of accounts and stock, with the contract's names."""

from __future__ import annotations

from typing import Any

from order_capture.domain.ledger import Balance, LedgerSpec
from order_capture.domain.order import CheckType

ENTITY_NAMES = {CheckType.BALANCE: "customerId", CheckType.STOCK: "productId"}
"""The name of the id of each ledger."""


def amounts(kind: LedgerSpec, head: Balance) -> dict[str, Any]:
    """A head's figures with their decimals, and its price if it has one."""
    price = {} if head.price is None else {"price": head.price}
    return {
        "balance": kind.amount(head.balance),
        "held": kind.amount(head.held),
        "settled": kind.amount(head.settled),
        **price,
    }
