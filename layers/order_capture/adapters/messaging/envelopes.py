"""Messages as CloudEvents 1.0 in structured JSON: one envelope for all that the functions say."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.serializers import decimal_json, fields
from order_capture.adapters.serializers.check_results import check_result_from, check_result_values
from order_capture.adapters.serializers.decimal_json import NotJsonError
from order_capture.adapters.serializers.order_details import order_details_from, order_details_values
from order_capture.adapters.serializers.snapshots import order_values, state_values
from order_capture.application.messages import (
    BalanceState,
    CheckOrder,
    DeliverWebhook,
    Message,
    OrderChecked,
    OrderEventMessage,
    ReceivedOrderEvent,
    ReceivedOrderSummary,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
    subject_of,
)
from order_capture.domain.errors import InvalidMessageError, UnreadableError
from order_capture.domain.events import OrderEventSummary, OrderEventType, event_type
from order_capture.domain.ledger import LEDGERS
from order_capture.domain.order import (
    CheckResult,
    CheckType,
    OrderStatus,
    Outcome,
    StatusChange,
    sequences_of,
)

SPEC_VERSION = "1.0"
VERSION = "1"
"""The version of the messages' data that we write, and the only one that there is to read."""

TYPES: Mapping[type[Message], str] = {
    CheckOrder: "order.check",
    ReleaseOrder: "order.release",
    ShipOrder: "order.ship",
    OrderChecked: "order.checked",
    WatchOrder: "order.watch",
    DeliverWebhook: "webhook.deliver",
}
STATES: Mapping[CheckType, str] = {CheckType.BALANCE: "account.state", CheckType.STOCK: "stock.state"}
_EVENTS = frozenset(OrderEventType)
_SEQUENCE = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message ready to be sent: its type and version are repeated as attributes, for filters."""

    type: str
    version: str
    body: str


def encode(message: Message | BalanceState, *, message_id: str, source: str, time: str) -> Envelope:
    """Put a message into its envelope."""
    more: dict[str, Any] = {}
    if isinstance(message, OrderEventMessage):
        event = message.event
        kind = str(event.type)
        message_id, time = event_id(kind, event.order.order_id), event.change.time
        more["sequence"] = str(event.change.sequence)
        if event.change.reason is not None:
            more["reason"] = event.change.reason
    elif isinstance(message, BalanceState):
        kind = STATES[message.kind.check]
        message_id, time = event_id(kind, message.correlation_id), message.head.update_time
    else:
        kind = TYPES[type(message)]
    body = {
        "specversion": SPEC_VERSION,
        "id": message_id,
        "source": source,
        "type": kind,
        "time": time,
        "subject": subject_of(message),
        **more,
        "datacontenttype": "application/json",
        "dataschema": dataschema(kind),
        "correlationid": message.correlation_id,
        "data": _data(message),
    }
    return Envelope(kind, VERSION, decimal_json.dumps(body))


def decode(body: str) -> Message:
    """Read a message; an event stays as it is, for whoever it is passed on to.

    Each field that the contract has is of its own JSON type, or the message is refused: no text is made of a
    null, and no number of a text. What the contract does not have is left alone.

    Raises:
        InvalidMessageError: it is not JSON, not a CloudEvent, or of a type or version that we don't know.
    """
    try:
        event = decimal_json.loads(body)
        kind = event["type"]
        if event["specversion"] != SPEC_VERSION or event["dataschema"] != dataschema(kind):
            raise InvalidMessageError("message of an unknown version")
        for name in ("id", "source", "subject", "datacontenttype"):
            fields.text(event, name)
        time, data = fields.time(event, "time"), fields.mapping(event, "data")
        correlation_id = fields.text(event, "correlationid")
        match kind:
            case "order.check":
                return CheckOrder(order_details_from(data), correlation_id)
            case "order.release":
                return ReleaseOrder(order_details_from(data), correlation_id)
            case "order.ship":
                return ShipOrder(order_details_from(data), correlation_id)
            case "order.checked":
                check = fields.choice(data, "check", CheckType)
                return OrderChecked(
                    fields.identifier(data, "orderId"), check, _decision_from(data, check), correlation_id
                )
            case "order.watch":
                delay, attempts = (fields.count(data, name) for name in ("delay", "looks"))
                return WatchOrder(fields.identifier(data, "orderId"), correlation_id, delay, attempts)
            case "webhook.deliver":
                return DeliverWebhook(
                    fields.text(data, "webhookId"),
                    fields.text(data, "deliveryId"),
                    fields.identifier(data, "orderId"),
                    correlation_id,
                    fields.count(data, "round"),
                )
        if kind in _EVENTS:
            details = order_details_from(data)
            _expect_order(data)
            sequence = fields.text(event, "sequence")
            if not _SEQUENCE.fullmatch(sequence):
                raise InvalidMessageError("a sequence that is no number from 1")
            return ReceivedOrderEvent(
                details.order_id,
                details.customer_id,
                event["id"],
                kind,
                int(sequence),
                time,
                body,
                correlation_id,
                fields.text(data, "callbackUrl", ""),
                fields.text(event, "reason") if "reason" in event else None,
            )
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InvalidMessageError(f"not a message of ours: {_fault(error)}") from error
    raise InvalidMessageError("message of an unknown type")


def event_id(kind: str, what: str) -> str:
    """The same each time that a fact is published, so that a consumer knows what it has seen."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{what}"))


def decode_summary(body: str) -> ReceivedOrderSummary:
    """Read what those read of an event who count: its place in the order's life, and what was ordered.

    Raises:
        InvalidMessageError: it is no event, or its order says otherwise.
    """
    news = decode(body)
    if not isinstance(news, ReceivedOrderEvent):
        raise InvalidMessageError(f"a {type(news).__name__} is no event")
    data = decimal_json.loads(body)["data"]
    status = OrderStatus(data["status"])
    change = StatusChange(status, news.time, news.sequence, news.reason or _decline_code(data))
    if (
        event_type(status) != news.type
        or news.sequence not in sequences_of(status)
        or not data["createTime"] <= news.time <= data["updateTime"]
    ):
        raise InvalidMessageError("an event that contradicts its order")
    fact = OrderEventSummary(news.event_id, change, order_details_from(data), data["createTime"])
    return ReceivedOrderSummary(fact, news.correlation_id)


def _decline_code(data: Mapping[str, Any]) -> str | None:
    """Why an order was rejected, by an event of a release that wrote no `reason`.

    Of two checks that declined it at once, either may be the one: no more than this is to be known.
    """
    answers = [data["checks"][check.lower()] for check in LEDGERS]
    return next((str(each["code"]) for each in answers if each and each["outcome"] == Outcome.DECLINED), None)


def _fault(error: Exception) -> str:
    """What is wrong, without what the message says: other errors' texts repeat it."""
    return str(error) if isinstance(error, UnreadableError | NotJsonError) else type(error).__name__


def _decision_from(values: Mapping[str, Any], check: CheckType) -> CheckResult:
    """A check's answer, with the decimals that its ledger has, however its figures were written."""
    return LEDGERS[check].with_decimals(check_result_from(values))


def _expect_order(data: Mapping[str, Any]) -> None:
    """Look at what an event says of its order beside its terms: it goes on to others as it is."""
    fields.choice(data, "status", OrderStatus)
    fields.texts(data, "logs")
    for check in LEDGERS:
        answer = data["checks"][check.lower()]
        if answer is not None:
            _decision_from(answer, check)
    for name in ("createTime", "updateTime"):
        fields.time(data, name)
    fields.text(data, "correlationId")


def dataschema(kind: object, version: str = VERSION) -> str:
    """The name of the schema of a message's data: `schemas/<kind>/<version>.json` has it for its `$id`."""
    return f"urn:order-capture:{kind}:{version}"


def _data(message: Message | BalanceState) -> dict[str, Any]:
    if isinstance(message, BalanceState):
        return state_values(message.kind, message.entity, message.head)
    if isinstance(message, OrderEventMessage):
        return order_values(message.event.order)
    if isinstance(message, OrderChecked):
        return {"orderId": message.order_id, "check": message.check, **check_result_values(message.decision)}
    if isinstance(message, WatchOrder):
        return {"orderId": message.order_id, "delay": message.delay, "looks": message.attempts}
    if isinstance(message, DeliverWebhook):
        return {
            "webhookId": message.webhook_id,
            "deliveryId": message.delivery_id,
            "orderId": message.order_id,
            "round": message.attempt_series,
        }
    if isinstance(message, ReceivedOrderEvent):
        raise TypeError("what was published is not published again")
    return order_details_values(message.details)
