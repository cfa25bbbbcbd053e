"""All repositories, by port, over DynamoDB or a substitute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from order_capture.adapters import system
from order_capture.adapters.dynamodb.history_repository import DynamoHistoryRepository
from order_capture.adapters.dynamodb.ledger_repository import BALANCE_ENTRY, DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository
from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository
from order_capture.adapters.dynamodb.subscription_repository import DynamoSubscriptionRepository
from order_capture.adapters.dynamodb.types import from_item
from order_capture.adapters.dynamodb.webhook_repository import DynamoWebhookRepository
from order_capture.application.retry import Backoff, Retry
from order_capture.domain.ledger import Adjustment, Entry, Hold
from order_capture.domain.stripes import entity_of
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
    retry = Retry(backoff)
    accounts = DynamoLedgerRepository(client, tables["AccountTable"], "customerId", retry)
    stock = DynamoLedgerRepository(client, tables["StockTable"], "productId", retry)
    return Stores(
        DynamoOrderRepository(client, tables["OrderTable"], retry),
        accounts,
        stock,
        DynamoShipmentRepository(client, tables["OrderTable"], accounts, stock),
        DynamoHistoryRepository(client, tables["HistoryTable"], "customerId", retry),
        DynamoHistoryRepository(client, tables["HistoryTable"], "productId", retry),
        DynamoWebhookRepository(client, tables["WebhookTable"], system.clock, retry),
        DynamoSubscriptionRepository(client, tables["ConnectionTable"], retry),
        DynamoReportRepository(client, tables["ReportTable"]),
    )


def memory_stores(dynamodb: DynamoDB) -> Stores:
    """The repositories over new tables in memory, for the tests of use cases."""
    return dynamo_stores(dynamodb, create_tables(dynamodb), RecordedBackoff())


def entries_of(dynamodb: DynamoDB, ledger: DynamoLedgerRepository, entity: str) -> list[Entry]:
    """All entries of one customer or product."""
    return entries_among(dynamodb.items(ledger._table).values(), ledger, entity)


def entries_among(
    items: Iterable[Mapping[str, Any]], ledger: DynamoLedgerRepository, entity: str
) -> list[Entry]:
    """The entries of one customer or product among the items of a ledger's table."""
    entries: list[Entry] = []
    for item in items:
        if item["entry"]["S"] == BALANCE_ENTRY:
            continue
        entry = ledger._entry_from(from_item(item))
        if isinstance(entry, Adjustment):
            if entry.entity == entity:
                entries.append(entry)
            continue
        # An order's entry covers all its customers or products: this is the part of one.
        own = {head: amount for head, amount in entry.amounts.items() if entity_of(head) == entity}
        if own or (isinstance(entry, Hold) and entry.entity == entity):
            entries.append(replace(entry, amounts=own))
    return entries
