"""All that is kept, by port, over whatever stands for DynamoDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from order_capture.adapters.dynamodb_ledger import DynamoLedger
from order_capture.adapters.dynamodb_orders import DynamoOrders
from order_capture.adapters.dynamodb_shipments import DynamoShipments
from order_capture.adapters.runtime import pause
from order_capture.application.ports import Ledger, Orders, Shipments
from tests.support.fakes import MemoryLedger, MemoryOrders, MemoryShipments


@dataclass(frozen=True)
class Stores:
    """The ports."""

    orders: Orders
    accounts: Ledger
    stock: Ledger
    shipments: Shipments


def dynamo_stores(client: Any, tables: dict[str, str]) -> Stores:
    """The adapters, over tables by their logical ids."""
    return Stores(
        DynamoOrders(client, tables["OrderTable"], pause),
        DynamoLedger(client, tables["AccountTable"], "customerId"),
        DynamoLedger(client, tables["StockTable"], "productId"),
        DynamoShipments(client, tables["OrderTable"], tables["AccountTable"], tables["StockTable"]),
    )


def memory_stores() -> Stores:
    orders, accounts, stock = MemoryOrders(), MemoryLedger(), MemoryLedger()
    return Stores(orders, accounts, stock, MemoryShipments(orders, accounts, stock))
