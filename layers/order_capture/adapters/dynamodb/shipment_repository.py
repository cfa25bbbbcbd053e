"""Settlement across the three tables, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from order_capture.adapters.dynamodb.ledger_repository import balance_update
from order_capture.adapters.dynamodb.order_repository import step_values
from order_capture.adapters.dynamodb.transactions import conflicted, refused, transact
from order_capture.adapters.dynamodb.types import to_item
from order_capture.application.ports import SettleRefusedError
from order_capture.domain.ledger import ACCOUNTS, STOCK, BalanceChange, LedgerSpec, aggregate
from order_capture.domain.order import OrderDetails, OrderStatus, StatusChange

SHIPPED_SEQUENCE = 3
"""Of PENDING, CONFIRMED, SHIPPED, the only way there is."""


class DynamoShipmentRepository:
    """Implements `application.ports.ShipmentRepository`."""

    def __init__(self, client: Any, order_table: str, account_table: str, stock_table: str) -> None:
        self._client = client
        self._order_table = order_table
        self._account_table = account_table
        self._stock_table = stock_table

    def settle(self, orders: Sequence[OrderDetails], now: str) -> None:  # noqa: D102 - the port says it
        reasons = transact(
            self._client,
            [self._ship(details, now) for details in orders]
            + _settle(ACCOUNTS, orders, self._account_table, "customerId", now)
            + _settle(STOCK, orders, self._stock_table, "productId", now),
        )
        if reasons is None:
            return
        not_confirmed: dict[str, OrderStatus | None] = {}
        short = False
        for position, item in refused(reasons):
            if position < len(orders):
                status = item.get("status") if item else None
                not_confirmed[orders[position].order_id] = OrderStatus(status["S"]) if status else None
            else:
                short = True
        raise SettleRefusedError(not_confirmed, short, conflicted(reasons))

    def _ship(self, details: OrderDetails, now: str) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._order_table,
                "Key": to_item({"orderId": details.order_id}),
                "UpdateExpression": "SET #status = :shipped, timeline = list_append(timeline, :steps), "
                "version = version + :one",
                # The order's own status is the guard: whatever is sent twice, it ships once.
                "ConditionExpression": "#status = :confirmed",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": to_item(
                    {
                        ":shipped": OrderStatus.SHIPPED,
                        ":confirmed": OrderStatus.CONFIRMED,
                        ":steps": [step_values(StatusChange(OrderStatus.SHIPPED, now, SHIPPED_SEQUENCE))],
                        ":one": 1,
                    }
                ),
            }
        }


def _settle(
    kind: LedgerSpec, orders: Sequence[OrderDetails], table: str, key: str, now: str
) -> list[dict[str, Any]]:
    movements = aggregate(
        # The record of it is the order's own status: there is no entry, but it goes by the name of one.
        replace(BalanceChange.settle(entity, amount), entries={f"SETTLE#{details.order_id}": amount})
        for details in orders
        for entity, amount in kind.required_amounts(details).items()
    )
    return [balance_update(table, key, movement, now) for movement in movements]
