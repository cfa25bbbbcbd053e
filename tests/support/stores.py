"""All that is kept, by port, over whatever stands for DynamoDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from order_capture.adapters import system
from order_capture.adapters.dynamodb.history_repository import DynamoHistoryRepository
from order_capture.adapters.dynamodb.ledger_repository import BALANCE_ENTRY, DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository
from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository
from order_capture.adapters.dynamodb.subscription_repository import DynamoSubscriptionRepository
from order_capture.adapters.dynamodb.webhook_repository import DynamoWebhookRepository
from order_capture.application.retry import Backoff, Retry
from order_capture.domain.ledger import Entry
from tests.support.aws.dynamodb import DynamoDB
from tests.support.fakes import RecordedBackoff
from tests.support.tables import create_tables


@dataclass(frozen=True)
class Stores:
    """The repositories."""

    orders: DynamoOrderRepository
    accounts: DynamoLedgerRepository
    stock: DynamoLedgerRepository
    shipments: DynamoShipmentRepository
    account_history: DynamoHistoryRepository
    stock_history: DynamoHistoryRepository
    webhooks: DynamoWebhookRepository
    subscriptions: DynamoSubscriptionRepository
    reports: DynamoReportRepository


def dynamo_stores(client: Any, tables: dict[str, str], backoff: Backoff = system.backoff) -> Stores:
    """The repositories over tables by their logical ids."""
    return Stores(
        DynamoOrderRepository(client, tables["OrderTable"], Retry(backoff)),
        DynamoLedgerRepository(client, tables["AccountTable"], "customerId"),
        DynamoLedgerRepository(client, tables["StockTable"], "productId"),
        DynamoShipmentRepository(client, tables["OrderTable"], tables["AccountTable"], tables["StockTable"]),
        DynamoHistoryRepository(client, tables["HistoryTable"], "customerId", Retry(backoff)),
        DynamoHistoryRepository(client, tables["HistoryTable"], "productId", Retry(backoff)),
        DynamoWebhookRepository(client, tables["WebhookTable"], system.clock, Retry(backoff)),
        DynamoSubscriptionRepository(client, tables["ConnectionTable"], Retry(backoff)),
        DynamoReportRepository(client, tables["ReportTable"]),
    )


def memory_stores(dynamodb: DynamoDB) -> Stores:
    """The repositories over new tables in memory, for the tests of use cases."""
    return dynamo_stores(dynamodb, create_tables(dynamodb), RecordedBackoff())


def entries_of(dynamodb: DynamoDB, ledger: DynamoLedgerRepository, entity: str) -> list[Entry]:
    """All that was ever done to one customer or product."""
    return [
        ledger._entry_from(item)
        for (of, entry), item in dynamodb.items(ledger._table).items()
        if of == entity and entry != BALANCE_ENTRY
    ]
