"""All that is kept, by port, over whatever stands for DynamoDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from order_capture.adapters.dynamodb_ledger import DynamoLedger
from order_capture.adapters.dynamodb_orders import DynamoOrders
from order_capture.adapters.dynamodb_shipments import DynamoShipments
from order_capture.adapters.dynamodb_webhooks import DynamoWebhooks
from order_capture.adapters.runtime import clock, pause
from order_capture.application.ports import Ledger, Orders, Shipments
from order_capture.application.webhook_ports import Webhooks
from tests.support.fakes import MemoryLedger, MemoryOrders, MemoryShipments, MemoryWebhooks


@dataclass(frozen=True)
class Stores:
    """The ports."""

    orders: Orders
    accounts: Ledger
    stock: Ledger
    shipments: Shipments
    webhooks: Webhooks


def dynamo_stores(client: Any, tables: dict[str, str]) -> Stores:
    """The adapters, over tables by their logical ids."""
    return Stores(
        DynamoOrders(client, tables["OrderTable"], pause),
        DynamoLedger(client, tables["AccountTable"], "customerId"),
        DynamoLedger(client, tables["StockTable"], "productId"),
        DynamoShipments(client, tables["OrderTable"], tables["AccountTable"], tables["StockTable"]),
        DynamoWebhooks(client, tables["WebhookTable"], clock, pause),
    )


def memory_stores() -> Stores:
    orders, accounts, stock = MemoryOrders(), MemoryLedger(), MemoryLedger()
    return Stores(orders, accounts, stock, MemoryShipments(orders, accounts, stock), MemoryWebhooks())
