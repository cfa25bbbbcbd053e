"""What clients are shown of accounts and stock, under the contract's names."""

from __future__ import annotations

from typing import Any

from order_capture.adapters.serializers.snapshots import amounts
from order_capture.domain.ledger import Balance, LedgerSpec


def head_view(kind: LedgerSpec, name: str, entity: str, head: Balance) -> dict[str, Any]:
    """How a customer or product stands; `name` is its field's name."""
    return {
        name: entity,
        **amounts(kind, head),
        "updateTime": head.update_time,
    }
