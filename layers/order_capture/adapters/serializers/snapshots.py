"""How orders, accounts and stock stand, as clients and the consumers of events see it.

Under the contract's names.
"""

from __future__ import annotations

from typing import Any

from order_capture.adapters.serializers.check_results import check_result_values
from order_capture.adapters.serializers.order_details import order_details_values
from order_capture.domain.ledger import LEDGERS, Balance, LedgerSpec
from order_capture.domain.order import CheckResult, CheckType, Order
from order_capture.domain.order_log import log_lines

ENTITY_NAMES = {CheckType.BALANCE: "customerId", CheckType.STOCK: "productId"}
"""What an id of a ledger's is called."""


def order_values(order: Order) -> dict[str, Any]:
    """The whole order."""
    callback = {"callbackUrl": order.callback_url} if order.callback_url else {}
    return {
        **order_details_values(order.details),
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
        "logs": log_lines(order),
        "checks": {
            check.lower(): _check_values(kind, order.checks.get(check)) for check, kind in LEDGERS.items()
        },
    }


def state_values(kind: LedgerSpec, entity: str, head: Balance) -> dict[str, Any]:
    """How a customer or product stands, for those who keep a copy; of what is deleted, only that it is.

    A tombstone is a state like any other and has its place among them, which is its version: data that is
    null, as it is common, would leave no room for one.
    """
    state = {ENTITY_NAMES[kind.check]: entity, "version": head.version, "deleted": head.deleted}
    return state if head.deleted else state | amounts(kind, head)


def amounts(kind: LedgerSpec, head: Balance) -> dict[str, Any]:
    """The figures of a head, with their decimals; and its price, if it has one."""
    price = {} if head.price is None else {"price": head.price}
    return {
        "balance": kind.amount(head.balance),
        "held": kind.amount(head.held),
        "settled": kind.amount(head.settled),
        **price,
    }


def _check_values(kind: LedgerSpec, decision: CheckResult | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    return check_result_values(kind.with_decimals(decision))
