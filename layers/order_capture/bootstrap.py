"""Build the use cases of a running function, with the adapters that implement their ports.

The function with a use case's name builds it. Imports are inside these functions, so that a Lambda function
loads only what it uses. `source` is the Lambda function that publishes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from order_capture.adapters import metrics
from order_capture.adapters.aws_clients import client
from order_capture.adapters.system import backoff, clock, new_id, random_fraction, sleep
from order_capture.adapters.time_budget import has_time_left
from order_capture.application.retry import Retry
from order_capture.config import settings
from order_capture.domain.order import CheckType

if TYPE_CHECKING:
    from order_capture.adapters.dynamodb.history_repository import DynamoHistoryRepository
    from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
    from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
    from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository
    from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository
    from order_capture.adapters.dynamodb.subscription_repository import DynamoSubscriptionRepository
    from order_capture.adapters.dynamodb.webhook_repository import DynamoWebhookRepository
    from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher, TopicPublisher
    from order_capture.adapters.operations.function_logs import CloudWatchFunctionLogs
    from order_capture.adapters.operations.queues import SqsQueues
    from order_capture.adapters.websocket_client import ApiGatewayConnections
    from order_capture.application.ledger.adjust_balance import AdjustBalance
    from order_capture.application.ledger.check_orders import CheckOrders
    from order_capture.application.ledger.get_balance import GetBalance
    from order_capture.application.ledger.hot_heads import HotHeads
    from order_capture.application.ledger.list_balance_history import ListBalanceHistory
    from order_capture.application.ledger.list_balances import ListBalances
    from order_capture.application.ledger.publish_balance_states import PublishBalanceStates
    from order_capture.application.operations.discard_dead_letters import DiscardDeadLetters
    from order_capture.application.operations.list_dead_letters import ListDeadLetters
    from order_capture.application.operations.list_open_orders import ListOpenOrders
    from order_capture.application.operations.list_queues import ListQueues
    from order_capture.application.operations.recheck_orders import RecheckOrders
    from order_capture.application.operations.redrive_dead_letters import RedriveDeadLetters
    from order_capture.application.orders.cancel_order import CancelOrder
    from order_capture.application.orders.capture_orders import CaptureOrders
    from order_capture.application.orders.decide_orders import DecideOrders
    from order_capture.application.orders.get_order import GetOrder
    from order_capture.application.orders.list_orders import ListOrders
    from order_capture.application.orders.publish_order_events import PublishOrderEvents
    from order_capture.application.orders.ship_orders import ShipOrders
    from order_capture.application.orders.watch_orders import WatchOrders
    from order_capture.application.reports.get_reports import GetReports
    from order_capture.application.reports.project_reports import ProjectReports
    from order_capture.application.subscriptions.manage_subscriptions import ManageSubscriptions
    from order_capture.application.subscriptions.push_events import PushEvents
    from order_capture.application.webhooks.deliver_webhooks import DeliverWebhooks
    from order_capture.application.webhooks.dispatch_webhooks import DispatchWebhooks
    from order_capture.application.webhooks.manage_webhooks import ManageWebhooks
    from order_capture.application.webhooks.replay_delivery import ReplayDelivery
    from order_capture.domain.ledger import LedgerSpec
    from order_capture.domain.webhooks import DeliveryResponse, Lane


# Use cases: orders


def capture_orders() -> CaptureOrders:
    """Of order_api."""
    from order_capture.application.orders.capture_orders import CaptureOrders

    return CaptureOrders(orders(), check_publisher("order_api"), clock)


def cancel_order() -> CancelOrder:
    """Of order_api."""
    from order_capture.application.orders.cancel_order import CancelOrder

    return CancelOrder(orders(), check_publisher("order_api"), clock, retry())


def get_order() -> GetOrder:
    """Of order_reader."""
    from order_capture.application.orders.get_order import GetOrder

    return GetOrder(orders(), sleep)


def list_orders() -> ListOrders:
    """Of order_api."""
    from order_capture.application.orders.list_orders import ListOrders
    from order_capture.application.reports.ports import MARK_RETENTION

    return ListOrders(orders(), reports(), clock, MARK_RETENTION)


def decide_orders() -> DecideOrders:
    """Of order_update."""
    from order_capture.application.orders.decide_orders import DecideOrders

    source = "order_update"
    ledgers = {CheckType.BALANCE: accounts(), CheckType.STOCK: stock()}
    return DecideOrders(
        orders(), ledgers, shipping_publisher(source), check_publisher(source), clock, retry()
    )


def ship_orders() -> ShipOrders:
    """Of ship_order."""
    from order_capture.application.orders.ship_orders import ShipOrders

    return ShipOrders(shipments(), clock, retry())


def watch_orders() -> WatchOrders:
    """Of order_watchdog."""
    from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
    from order_capture.application.orders.watch_orders import WatchOrders

    source = "order_watchdog"
    return WatchOrders(
        orders(),
        checks=check_publisher(source),
        shipping=shipping_publisher(source),
        watches=watchdog_publisher(source),
        deadline=timedelta(seconds=settings.order_deadline_seconds),
        max_delay=MAX_DELAY_SECONDS,
        clock=clock,
        retry=retry(),
        measure_age=partial(metrics.took, "OpenOrderAge"),
    )


def publish_order_events() -> PublishOrderEvents:
    """Of change_publisher."""
    from order_capture.application.orders.publish_order_events import PublishOrderEvents

    source, followers = "change_publisher", subscriptions()
    return PublishOrderEvents(
        watches=watchdog_publisher(source),
        events=order_event_publisher(source),
        may_have_webhooks=webhooks().may_have_webhooks,
        may_have_connections=lambda: followers.has_any(clock()),
        delay=settings.watch_delay_seconds,
    )


def retry() -> Retry:
    """The retry of writes: limited by the invocation's remaining time."""
    return Retry(backoff, has_time_left)


# Use cases: ledgers


def check_orders(kind: LedgerSpec) -> CheckOrders:
    """Of balance_checker and stock_checker."""
    from order_capture.application.ledger.check_orders import CheckOrders
    from order_capture.domain.ledger import ACCOUNTS, STOCK

    other = STOCK if kind.check is CheckType.BALANCE else ACCOUNTS
    return CheckOrders(
        kind,
        ledger(kind),
        decided_by_other=ledger(other).holds,
        results=check_result_publisher(f"{kind.check.lower()}_checker"),
        clock=clock,
        random=random_fraction,
        retry=retry(),
        hot_heads=hot_heads(),
        stripes=settings.ledger_stripes,
    )


@cache
def hot_heads() -> HotHeads:
    """The contended heads that this process knows: each function has one ledger."""
    from order_capture.application.ledger.hot_heads import HotHeads

    return HotHeads()


def adjust_balance(kind: LedgerSpec) -> AdjustBalance:
    """Of account_api and stock_api."""
    from order_capture.application.ledger.adjust_balance import AdjustBalance

    return AdjustBalance(kind, ledger(kind), clock, retry())


def get_balance(kind: LedgerSpec) -> GetBalance:
    """Of account_api and stock_api."""
    from order_capture.adapters.serializers.snapshots import ENTITY_NAMES
    from order_capture.application.ledger.get_balance import GetBalance

    return GetBalance(ledger(kind), history(ENTITY_NAMES[kind.check]), sleep)


def list_balances(kind: LedgerSpec) -> ListBalances:
    """Of account_api and stock_api."""
    from order_capture.application.ledger.list_balances import ListBalances

    return ListBalances(ledger(kind))


def list_balance_history(kind: LedgerSpec) -> ListBalanceHistory:
    """Of account_api and stock_api."""
    from order_capture.adapters.serializers.snapshots import ENTITY_NAMES
    from order_capture.application.ledger.list_balance_history import ListBalanceHistory

    return ListBalanceHistory(ledger(kind), history(ENTITY_NAMES[kind.check]))


def publish_balance_states(kind: LedgerSpec) -> PublishBalanceStates:
    """Of ledger_publisher."""
    from order_capture.application.ledger.publish_balance_states import PublishBalanceStates

    return PublishBalanceStates(ledger(kind), balance_state_publisher(kind.check, "ledger_publisher"))


# Use cases: webhooks


def manage_webhooks() -> ManageWebhooks:
    """Of webhook_api."""
    from order_capture.application.webhooks.manage_webhooks import ManageWebhooks

    return ManageWebhooks(webhooks(), clock)


def replay_delivery() -> ReplayDelivery:
    """Of webhook_api."""
    from order_capture.application.webhooks.replay_delivery import ReplayDelivery

    return ReplayDelivery(webhooks(), webhook_publisher("webhook_api"))


def dispatch_webhooks() -> DispatchWebhooks:
    """Of webhook_dispatcher."""
    from order_capture.application.webhooks.dispatch_webhooks import DispatchWebhooks

    return DispatchWebhooks(webhooks(), webhook_lanes("webhook_dispatcher"), new_secret, clock)


def deliver_webhooks(lane: Lane) -> DeliverWebhooks:
    """Of webhook_sender."""
    from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
    from order_capture.application.webhooks.deliver_webhooks import DeliverWebhooks

    source = "webhook_sender"
    return DeliverWebhooks(
        lane=lane,
        webhooks=webhooks(),
        post=post_webhook,
        lanes=webhook_lanes(source),
        dead_letters=webhook_dead_letters(source),
        clock=clock,
        random=random_fraction,
        timeout=settings.webhook_timeout_seconds,
        max_delay=MAX_DELAY_SECONDS,
    )


# Use cases: subscriptions


def manage_subscriptions() -> ManageSubscriptions:
    """Of socket_api."""
    from order_capture.application.subscriptions.manage_subscriptions import ManageSubscriptions

    return ManageSubscriptions(orders(), subscriptions(), clock)


def push_events() -> PushEvents:
    """Of socket_pusher."""
    from order_capture.application.subscriptions.push_events import PushEvents

    return PushEvents(subscriptions(), connections(), clock, has_time_left)


# Use cases: reports


def project_reports() -> ProjectReports:
    """Of report_projector."""
    from order_capture.adapters.dynamodb.transactions import MAX_ITEMS
    from order_capture.application.reports.project_reports import ProjectReports

    return ProjectReports(reports(), MAX_ITEMS, clock, retry())


def get_reports() -> GetReports:
    """Of reports_api."""
    from order_capture.application.reports.get_reports import GetReports

    return GetReports(reports())


# Use cases: operations


def list_queues() -> ListQueues:
    """Of operations_api."""
    from order_capture.application.operations.list_queues import ListQueues

    return ListQueues(queues())


def list_dead_letters() -> ListDeadLetters:
    """Of operations_api."""
    from order_capture.application.operations.list_dead_letters import ListDeadLetters

    return ListDeadLetters(queues(), orders(), function_logs(), has_time_left)


def redrive_dead_letters() -> RedriveDeadLetters:
    """Of operations_api."""
    from order_capture.application.operations.redrive_dead_letters import RedriveDeadLetters

    return RedriveDeadLetters(queues())


def discard_dead_letters() -> DiscardDeadLetters:
    """Of operations_api."""
    from order_capture.application.operations.discard_dead_letters import DiscardDeadLetters

    return DiscardDeadLetters(queues())


def list_open_orders() -> ListOpenOrders:
    """Of operations_api."""
    from order_capture.application.operations.list_open_orders import ListOpenOrders

    ledgers = {CheckType.BALANCE: accounts(), CheckType.STOCK: stock()}
    return ListOpenOrders(orders(), ledgers, queues(), clock, has_time_left)


def recheck_orders() -> RecheckOrders:
    """Of operations_api."""
    from order_capture.application.operations.recheck_orders import RecheckOrders

    return RecheckOrders(orders(), watchdog_publisher("operations_api"))


# Repositories


def orders() -> DynamoOrderRepository:
    """The orders."""
    from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository

    return DynamoOrderRepository(client("dynamodb"), settings.order_table, retry())


def ledger(kind: LedgerSpec) -> DynamoLedgerRepository:
    """The accounts or the stock."""
    return accounts() if kind.check is CheckType.BALANCE else stock()


def accounts() -> DynamoLedgerRepository:
    """The ledger of customers' accounts."""
    from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository

    return DynamoLedgerRepository(client("dynamodb"), settings.account_table, "customerId", retry())


def stock() -> DynamoLedgerRepository:
    """The ledger of products' stock."""
    from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository

    return DynamoLedgerRepository(client("dynamodb"), settings.stock_table, "productId", retry())


def shipments() -> DynamoShipmentRepository:
    """Orders and both ledgers, settled together."""
    from order_capture.adapters.dynamodb.shipment_repository import DynamoShipmentRepository

    return DynamoShipmentRepository(client("dynamodb"), settings.order_table, accounts(), stock())


def history(key: str) -> DynamoHistoryRepository:
    """The history of the ledger whose table has the partition key `key`."""
    from order_capture.adapters.dynamodb.history_repository import DynamoHistoryRepository

    return DynamoHistoryRepository(client("dynamodb"), settings.history_table, key, retry())


def reports() -> DynamoReportRepository:
    """The daily reports."""
    from order_capture.adapters.dynamodb.report_repository import DynamoReportRepository

    return DynamoReportRepository(client("dynamodb"), settings.report_table)


def webhooks() -> DynamoWebhookRepository:
    """The webhooks and their deliveries."""
    from order_capture.adapters.dynamodb.webhook_repository import DynamoWebhookRepository

    return DynamoWebhookRepository(client("dynamodb"), settings.webhook_table, clock, retry())


def subscriptions() -> DynamoSubscriptionRepository:
    """The subscriptions of WebSocket connections."""
    from order_capture.adapters.dynamodb.subscription_repository import DynamoSubscriptionRepository

    return DynamoSubscriptionRepository(client("dynamodb"), settings.connection_table, retry())


def queues() -> SqsQueues:
    """The queues and dead letters of the stack."""
    from order_capture.adapters.operations.queues import SqsQueues
    from order_capture.adapters.operations.stack import own_stack

    return SqsQueues(own_stack())


def function_logs() -> CloudWatchFunctionLogs:
    """The logs of the stack's functions."""
    from order_capture.adapters.operations.function_logs import CloudWatchFunctionLogs
    from order_capture.adapters.operations.stack import own_stack

    return CloudWatchFunctionLogs(own_stack())


# Publishers


def check_publisher(source: str) -> TopicPublisher:
    """To both checkers, through the order topic."""
    return _topic(settings.order_topic_arn, source)


def order_event_publisher(source: str) -> TopicPublisher:
    """To every consumer of order events."""
    return _topic(settings.order_event_topic_arn, source)


def balance_state_publisher(check: CheckType, source: str) -> TopicPublisher:
    """To every consumer of account (`BALANCE`) or stock states."""
    return _topic(
        settings.account_topic_arn if check is CheckType.BALANCE else settings.stock_topic_arn, source
    )


def check_result_publisher(source: str) -> QueuePublisher:
    """To order_update."""
    return _queue(settings.order_update_queue_url, source)


def shipping_publisher(source: str) -> QueuePublisher:
    """To ship_order."""
    return _queue(settings.ship_order_queue_url, source)


def watchdog_publisher(source: str) -> QueuePublisher:
    """To order_watchdog."""
    return _queue(settings.order_watch_queue_url, source)


def webhook_publisher(source: str) -> QueuePublisher:
    """To webhook_sender, through the quick lane."""
    return _queue(settings.webhook_sender_queue_url, source)


def webhook_lanes(source: str) -> dict[Lane, QueuePublisher]:
    """To webhook_sender, one publisher per lane."""
    from order_capture.domain.webhooks import Lane

    return {Lane.QUICK: webhook_publisher(source), Lane.SLOW: _queue(settings.webhook_slow_queue_url, source)}


def webhook_dead_letters(source: str) -> QueuePublisher:
    """The dead-letter queue of failed deliveries."""
    return _queue(settings.webhook_sender_dlq_url, source)


def envelope_factory(source: str) -> EnvelopeFactory:
    """Creates the envelopes of a function's messages."""
    from order_capture.adapters.messaging.publishers import EnvelopeFactory

    return EnvelopeFactory(f"/order-capture/{source}", new_id, clock, backoff)


def _topic(arn: str, source: str) -> TopicPublisher:
    from order_capture.adapters.messaging.publishers import TopicPublisher

    return TopicPublisher(client("sns"), arn, envelope_factory(source))


def _queue(url: str, source: str) -> QueuePublisher:
    from order_capture.adapters.messaging.publishers import QueuePublisher

    return QueuePublisher(client("sqs"), url, envelope_factory(source))


# Webhooks and WebSocket connections


def webhook_lane_of(event: dict[str, Any]) -> Lane:
    """The lane of a batch's queue: all records are from one queue. A smoke test has no queue."""
    from order_capture.domain.webhooks import Lane

    records = event.get("Records")
    queue = records[0]["eventSourceARN"].rpartition(":")[2] if records else ""
    return Lane.SLOW if queue == settings.webhook_slow_queue_url.rpartition("/")[2] else Lane.QUICK


def post_webhook(url: str, headers: Mapping[str, str], body: str, timeout: float) -> DeliveryResponse:
    """POST a webhook."""
    from order_capture.adapters import webhook_client

    response = webhook_client.post(
        url,
        headers,
        body,
        timeout=timeout,
        loopback=settings.loopback_webhooks,
        own_port=settings.engine_port,
    )
    metrics.count_each("WebhookAttempts", "outcome", {response.outcome: 1})
    return response


def connections() -> ApiGatewayConnections:
    """The open WebSocket connections."""
    from order_capture.adapters.websocket_client import ApiGatewayConnections

    return ApiGatewayConnections(client("apigatewaymanagementapi", settings.connections_url))


def new_secret() -> str:
    """A random secret for webhooks."""
    from order_capture.domain.signatures import SECRET_BYTES, secret_of

    return secret_of(os.urandom(SECRET_BYTES))
