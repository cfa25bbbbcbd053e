"""Test data. Each factory has defaults for everything that is irrelevant to a test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.application.callers import Caller
from order_capture.application.messages import (
    CheckOrder,
    Message,
    OrderChecked,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
)
from order_capture.domain.events import OrderEventSummary, OrderEventType, event_type
from order_capture.domain.history import ChangeType, Commit, LedgerEntry
from order_capture.domain.ledger import UNPRICED, Balance, BalanceChange, Hold
from order_capture.domain.order import (
    CheckResult,
    CheckType,
    DeclineCode,
    Order,
    OrderDetails,
    OrderLine,
    OrderStatus,
    Outcome,
    StatusChange,
)
from order_capture.domain.signatures import secret_of
from order_capture.domain.webhooks import Delivery, Webhook

EARLIER, NOW = "2026-11-20T09:00:00.000Z", "2026-11-20T10:00:00.000Z"
WEBHOOK_SECRET = secret_of(bytes(range(32)))


def ticking_clock() -> Callable[[], str]:
    """A clock that advances by a millisecond each time it is read."""
    ticks = itertools.count()
    return lambda: f"2026-11-20T10:00:{next(ticks) / 1000:06.3f}Z"


def details_of(
    order_id: str = "order-1",
    customer_id: str = "alice",
    items: tuple[tuple[str, int], ...] = (("pen", 1),),
    total: str = "10.00",
    unit_price: str | None = None,
) -> OrderDetails:
    price = None if unit_price is None else Decimal(unit_price)
    lines = tuple(OrderLine(product_id, qty, price) for product_id, qty in items)
    return OrderDetails(order_id, customer_id, lines, Decimal(total))


def placed(details: OrderDetails | None = None, fingerprint: str = "print-1") -> Order:
    return Order.place(details or details_of(), now=NOW, correlation_id="corr-1", fingerprint=fingerprint)


def in_status(status: OrderStatus, order: Order | None = None) -> Order:
    """An order in a status, regardless of its check results."""
    order = order or placed()
    is_shipped_at_once = (order.status, status) == (OrderStatus.PENDING, OrderStatus.SHIPPED)
    before = [OrderStatus.CONFIRMED] if is_shipped_at_once else []
    way = [] if status is order.status else [*before, status]
    first = 1 + sum(isinstance(step, StatusChange) for step in order.timeline)
    changes = [StatusChange(each, NOW, sequence) for sequence, each in enumerate(way, first)]
    return replace(order, status=status, timeline=(*order.timeline, *changes))


def held(requested: str = "10.00", entity: str | None = "alice") -> CheckResult:
    return CheckResult(Outcome.HELD, Decimal(requested), entity)


def declined(
    code: DeclineCode = DeclineCode.INSUFFICIENT_BALANCE,
    requested: str = "10.00",
    available: str | None = "3.00",
    entity: str = "alice",
) -> CheckResult:
    return CheckResult(
        Outcome.DECLINED, Decimal(requested), entity, code, None if available is None else Decimal(available)
    )


def wrong_price(price: str, unit_price: str | None, entity: str = "pen", requested: str = "1") -> CheckResult:
    """The result for an order that names another price than the product's."""
    return CheckResult(
        Outcome.DECLINED,
        Decimal(requested),
        entity,
        DeclineCode.PRICE_MISMATCH,
        price=Decimal(price),
        unit_price=None if unit_price is None else Decimal(unit_price),
    )


def check(details: OrderDetails | None = None) -> CheckOrder:
    return CheckOrder.of(details or details_of(), "corr-1")


def release(details: OrderDetails | None = None) -> ReleaseOrder:
    return ReleaseOrder.of(details or details_of(), "corr-1")


def ship(details: OrderDetails | None = None) -> ShipOrder:
    return ShipOrder.of(details or details_of(), "corr-1")


def checked(
    check: CheckType = CheckType.BALANCE, decision: CheckResult | None = None, order_id: str = "order-1"
) -> OrderChecked:
    return OrderChecked.of(order_id, check, decision or held(), "corr-1")


def watch(order_id: str = "order-1", delay: int = 60, attempts: int = 0) -> WatchOrder:
    return WatchOrder.of(order_id, "corr-1", delay, attempts)


def moved(head: Balance | None, movement: BalanceChange, now: str) -> Balance:
    """The balance after a change."""
    old = head or Balance(Decimal(0))
    return Balance(
        old.balance + movement.balance,
        old.held + movement.held,
        old.settled + movement.settled,
        old.version + 1,
        now,
        old.deleted if movement.deleted is None else movement.deleted,
        old.price if movement.price is None else None if movement.price == UNPRICED else movement.price,
    )


def shown(head: Balance | None) -> Balance | None:
    """A head without the internal counters of its table."""
    return head and replace(head, stripes=0, balance_version=0, transfers=0)


def a_commit(
    entity: str, *order_ids: str, version: int = 2, time: str = NOW, previous_time: str = EARLIER
) -> Commit:
    """A write of a head that held one unit for each of some orders."""
    changes = tuple(
        LedgerEntry(ChangeType.HOLD, Decimal(1), order_id) for order_id in order_ids or ("order-1",)
    )
    after = Balance(Decimal(20 - len(changes)), Decimal(len(changes)), version=version, update_time=time)
    return Commit(entity, changes, after, previous_time)


def a_decline(entity: str, order_id: str = "order-2", time: str = NOW) -> Hold:
    """A declined hold of an order."""
    return Hold(entity, order_id, {}, declined(entity=entity), time)


def webhook_of(**values: Any) -> Webhook:
    webhook = Webhook("alice.1", "alice", "https://a.example/", (), WEBHOOK_SECRET, NOW, NOW)
    return replace(webhook, **values)


def callbacks_of(customer_id: str = "alice") -> Webhook:
    return Webhook.for_callbacks(customer_id, WEBHOOK_SECRET, NOW)


def delivery_of(
    webhook: Webhook | None = None,
    event_id: str = "event-1",
    event_time: str = NOW,
    callback_url: str = "",
) -> Delivery:
    return Delivery.begin(
        webhook or webhook_of(),
        event_id=event_id,
        event_type="order.placed",
        event_time=event_time,
        order_id="order-1",
        body="{}",
        correlation_id="corr-1",
        now=NOW,
        callback_url=callback_url,
    )


def fact_of(
    kind: OrderEventType = OrderEventType.PLACED,
    details: OrderDetails | None = None,
    time: str = NOW,
    sequence: int = 1,
    reason: str | None = None,
    placed: str = NOW,
) -> OrderEventSummary:
    """An order's event as a subscriber receives it."""
    details = details or details_of()
    status = next(status for status in OrderStatus if event_type(status) is kind)
    change = StatusChange(status, time, sequence, reason)
    return OrderEventSummary(envelopes.event_id(kind, details.order_id), change, details, placed)


def body_of(message: Message) -> str:
    """A message's body in a queue."""
    return envelopes.encode(message, message_id="m-1", source="/order-capture/test", time=NOW).body


SERVICE = Caller("service-1")
SERVICE_CLAIMS = {"sub": "service-1", "client_id": "service-1", "token_use": "access"}


def customer_claims(name: str) -> dict[str, str]:
    """The gateway's claims of a customer's token."""
    return {"sub": f"sub-of-{name}", "client_id": "shop", "token_use": "access", "username": name}


def lambda_context(milliseconds: int = 10_000, request_id: str = "call-1") -> LambdaContext:
    """The context of a call with this many milliseconds left."""
    context = SimpleNamespace(
        aws_request_id=request_id, get_remaining_time_in_millis=lambda: milliseconds, function_name="function"
    )
    return cast(LambdaContext, context)


def api_event(
    method: str = "GET",
    resource: str = "/",
    body: object = None,
    headers: Mapping[str, str] | None = None,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, list[str]] | None = None,
    claims: Mapping[str, str] = SERVICE_CLAIMS,
) -> dict[str, Any]:
    """The event of API Gateway's proxy integration. A `body` that is not a string becomes JSON."""
    return {
        "httpMethod": method,
        "resource": resource,
        "pathParameters": path,
        "multiValueQueryStringParameters": query or None,
        "headers": dict(headers) if headers else None,
        "body": body if body is None or isinstance(body, str) else decimal_json.dumps(body),
        "isBase64Encoded": False,
        "requestContext": {"requestId": "request-1", "authorizer": {"claims": dict(claims)}},
    }


def socket_event(
    text: str = "",
    kind: str = "MESSAGE",
    connection_id: str = "connection-1",
    claims: Mapping[str, str] | None = SERVICE_CLAIMS,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The event of a WebSocket API."""
    return {
        "requestContext": {
            "eventType": kind,
            "connectionId": connection_id,
            "requestId": "request-1",
            "authorizer": claims and {"principalId": claims["sub"], **claims},
        },
        "headers": dict(headers) if headers else None,
        "body": text,
        "isBase64Encoded": False,
    }


def queue_event(*bodies: str, queue: str = "queue", receives: int = 1) -> dict[str, Any]:
    """The event of an SQS batch. The message ids are "message-0", "message-1", …"""
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue}"
    return {
        "Records": [
            {
                "messageId": f"message-{i}",
                "receiptHandle": f"receipt-{i}",
                "body": body,
                "eventSourceARN": arn,
                "attributes": {"ApproximateReceiveCount": str(receives)},
            }
            for i, body in enumerate(bodies)
        ]
    }
