"""All that is kept, by port, over whatever stands for DynamoDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository
from order_capture.adapters.dynamodb.webhook_repository import DynamoWebhookRepository
from order_capture.adapters.system import backoff, clock
from order_capture.application.ports import LedgerRepository, OrderRepository, ShipmentRepository
from order_capture.application.retry import Retry
from order_capture.application.webhooks.ports import WebhookRepository
from tests.support.fakes import (
    MemoryLedgerRepository,
    MemoryOrderRepository,
    MemoryShipmentRepository,
    MemoryWebhookRepository,
)


@dataclass(frozen=True)
class Stores:
    """The ports."""

    orders: OrderRepository
    accounts: LedgerRepository
    stock: LedgerRepository
    shipments: ShipmentRepository
    webhooks: WebhookRepository


def dynamo_stores(client: Any, tables: dict[str, str]) -> Stores:
    """The adapters, over tables by their logical ids."""
    return Stores(
        DynamoOrderRepository(client, tables["OrderTable"], Retry(backoff)),
        DynamoLedgerRepository(client, tables["AccountTable"], "customerId"),
        DynamoLedgerRepository(client, tables["StockTable"], "productId"),
        DynamoShipmentRepository(client, tables["OrderTable"], tables["AccountTable"], tables["StockTable"]),
        DynamoWebhookRepository(client, tables["WebhookTable"], clock, Retry(backoff)),
    )


def memory_stores() -> Stores:
    orders, accounts, stock = MemoryOrderRepository(), MemoryLedgerRepository(), MemoryLedgerRepository()
    return Stores(
        orders, accounts, stock, MemoryShipmentRepository(orders, accounts, stock), MemoryWebhookRepository()
    )
