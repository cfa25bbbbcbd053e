"""Settlement across the three tables, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import step_values
from order_capture.adapters.dynamodb.transactions import conflicted, refused, transact
from order_capture.adapters.dynamodb.types import to_item
from order_capture.application.ports import SettleRefusedError, Shipment
from order_capture.domain.order import OrderDetails, OrderStatus, StatusChange

SHIPPED_SEQUENCE = 3
"""Of PENDING, CONFIRMED, SHIPPED, the only way there is."""


class DynamoShipmentRepository:
    """Implements `application.ports.ShipmentRepository`."""

    def __init__(
        self,
        client: Any,
        order_table: str,
        accounts: DynamoLedgerRepository,
        stock: DynamoLedgerRepository,
    ) -> None:
        self._client = client
        self._order_table = order_table
        self._accounts = accounts
        self._stock = stock

    def held(self, orders: Sequence[OrderDetails]) -> Sequence[Shipment]:  # noqa: D102 - see the port
        order_ids = [details.order_id for details in orders]
        account, stock = self._accounts.holds(order_ids), self._stock.holds(order_ids)
        return [
            Shipment(details, on_account.amounts, of_stock.amounts)
            for details in orders
            if (on_account := account.get(details.order_id))
            and (of_stock := stock.get(details.order_id))
            and on_account.is_held
            and of_stock.is_held
        ]

    def settle(self, shipments: Sequence[Shipment], now: str) -> None:  # noqa: D102
        orders = [shipment.details for shipment in shipments]
        reasons = transact(
            self._client,
            [self._ship(details, now) for details in orders]
            + self._accounts.settlement({each.details.order_id: each.account for each in shipments}, now)
            + self._stock.settlement({each.details.order_id: each.stock for each in shipments}, now),
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
                "version = version + :one REMOVE stillOpen",
                # The condition on the order's status makes it ship once, even if a message comes twice.
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
