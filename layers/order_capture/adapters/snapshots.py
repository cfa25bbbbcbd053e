"""An order as it stands, as clients and the consumers of events see it, under the contract's names."""

from __future__ import annotations

from typing import Any

from order_capture.adapters.decisions import decision_values
from order_capture.adapters.terms import terms_values
from order_capture.domain.ledger import ACCOUNTS, STOCK, LedgerKind
from order_capture.domain.order import Check, Decision, Order

_KINDS = {Check.BALANCE: ACCOUNTS, Check.STOCK: STOCK}


def order_values(order: Order) -> dict[str, Any]:
    """The whole order."""
    callback = {"callbackUrl": order.callback_url} if order.callback_url else {}
    return {
        **terms_values(order.terms),
        **status_values(order),
        "createTime": order.create_time,
        "updateTime": order.update_time,
        "correlationId": order.correlation_id,
        **callback,
    }


def status_values(order: Order) -> dict[str, Any]:
    """How far an order is, and why."""
    return {
        "orderId": order.order_id,
        "status": order.status,
        "logs": order.logs,
        "checks": {
            check.lower(): _check_values(kind, order.checks.get(check)) for check, kind in _KINDS.items()
        },
    }


def _check_values(kind: LedgerKind, decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    available = None if decision.available is None else kind.amount(decision.available)
    return {**decision_values(decision), "asked": kind.amount(decision.asked), "available": available}
