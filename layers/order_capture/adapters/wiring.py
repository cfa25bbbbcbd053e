"""Which adapter stands behind which port in a running function. `source` is the function that speaks."""

from __future__ import annotations

from order_capture.adapters.dynamodb_ledger import DynamoLedger
from order_capture.adapters.dynamodb_orders import DynamoOrders
from order_capture.adapters.dynamodb_shipments import DynamoShipments
from order_capture.adapters.outboxes import QueueOutbox, Sender, TopicOutbox
from order_capture.adapters.runtime import client, clock, new_id, pause, setting
from order_capture.domain.order import Check


def orders() -> DynamoOrders:
    """The orders."""
    return DynamoOrders(client("dynamodb"), setting("ORDER_TABLE"), pause)


def accounts() -> DynamoLedger:
    """What customers may spend."""
    return DynamoLedger(client("dynamodb"), setting("ACCOUNT_TABLE"), "customerId")


def stock() -> DynamoLedger:
    """What is left of each product."""
    return DynamoLedger(client("dynamodb"), setting("STOCK_TABLE"), "productId")


def shipments() -> DynamoShipments:
    """Orders and both ledgers, settled together."""
    return DynamoShipments(
        client("dynamodb"), setting("ORDER_TABLE"), setting("ACCOUNT_TABLE"), setting("STOCK_TABLE")
    )


def checkers(source: str) -> TopicOutbox:
    """Both checkers, through the order topic."""
    return TopicOutbox(client("sns"), setting("ORDER_TOPIC_ARN"), sender(source))


def order_update(source: str) -> QueueOutbox:
    """The function that decides orders."""
    return QueueOutbox(client("sqs"), setting("ORDER_UPDATE_QUEUE_URL"), sender(source))


def shipping(source: str) -> QueueOutbox:
    """The function that ships orders."""
    return QueueOutbox(client("sqs"), setting("SHIP_ORDER_QUEUE_URL"), sender(source))


def watchdog(source: str) -> QueueOutbox:
    """The function that looks after open orders."""
    return QueueOutbox(client("sqs"), setting("ORDER_WATCH_QUEUE_URL"), sender(source))


def listeners(source: str) -> TopicOutbox:
    """Whoever follows what happens to orders."""
    return TopicOutbox(client("sns"), setting("ORDER_EVENT_TOPIC_ARN"), sender(source))


def followers(check: Check, source: str) -> TopicOutbox:
    """Whoever keeps a copy of the accounts (`BALANCE`) or of the stock."""
    topic = "ACCOUNT_TOPIC_ARN" if check is Check.BALANCE else "STOCK_TOPIC_ARN"
    return TopicOutbox(client("sns"), setting(topic), sender(source))


def sender(source: str) -> Sender:
    """What the messages of a function need."""
    return Sender(f"/order-capture/{source}", new_id, clock, pause)
