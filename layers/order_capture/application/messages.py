"""What the functions say to each other. Commands are imperative, the answer is in the past tense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from order_capture.domain.events import OrderEvent, OrderEventSummary
from order_capture.domain.ledger import Balance, LedgerSpec
from order_capture.domain.order import CheckResult, CheckType, OrderDetails

if TYPE_CHECKING:  # every function imports this module, and most know no webhooks
    from order_capture.domain.webhooks import Delivery


@dataclass(frozen=True, slots=True)
class CheckOrder:
    """To both checkers: hold what this order asks for, and answer."""

    details: OrderDetails
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """To both checkers: this order is refused, give back what is held for it."""

    details: OrderDetails
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """To shipping: this order is confirmed."""

    details: OrderDetails
    correlation_id: str


@dataclass(frozen=True, slots=True)
class OrderChecked:
    """To order_update: what one of the checks answered."""

    order_id: str
    check: CheckType
    decision: CheckResult
    correlation_id: str


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """To the watchdog: look at this order after `delay` seconds; `looks` says how often it has before."""

    order_id: str
    correlation_id: str
    delay: int
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class OrderEventMessage:
    """To whoever wants to know: something happened to an order."""

    event: OrderEvent

    @property
    def correlation_id(self) -> str:
        """The correlation id of the order."""
        return self.event.order.correlation_id


@dataclass(frozen=True, slots=True)
class ReceivedOrderEvent:
    """What an `OrderHappened` is to those who pass it on; `body` is the whole of it, as it was published."""

    order_id: str
    customer_id: str
    event_id: str
    type: str
    sequence: int
    time: str
    body: str
    correlation_id: str
    callback_url: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReceivedOrderSummary:
    """What an `OrderHappened` is to those who count: as far as they read it."""

    fact: OrderEventSummary
    correlation_id: str


@dataclass(frozen=True, slots=True)
class DeliverWebhook:
    """To the sender of webhooks: look at this delivery after `delay` seconds, in its `round` or a new one."""

    webhook_id: str
    delivery_id: str
    order_id: str
    correlation_id: str
    attempt_series: int = 0
    delay: int = 0

    @property
    def customer_id(self) -> str:
        """Whose webhook it is: with whom others share the queue."""
        return self.webhook_id.rpartition(".")[0]

    @classmethod
    def of(cls, delivery: Delivery, *, attempt_series: int | None = None, delay: int = 0) -> DeliverWebhook:
        """What asks for a delivery, in the round that it is in if no other is given."""
        return cls(
            delivery.webhook_id,
            delivery.delivery_id,
            delivery.order_id,
            delivery.correlation_id,
            delivery.attempt_series if attempt_series is None else attempt_series,
            delay,
        )


Message = (
    CheckOrder
    | ReleaseOrder
    | ShipOrder
    | OrderChecked
    | WatchOrder
    | OrderEventMessage
    | ReceivedOrderEvent
    | DeliverWebhook
)
Received = Message | ReceivedOrderSummary


@dataclass(frozen=True, slots=True)
class BalanceState:
    """To whoever keeps a copy: how a customer or product stands. The highest version is the latest."""

    kind: LedgerSpec
    entity: str
    head: Balance

    @property
    def correlation_id(self) -> str:
        """Of no one request, since a head is moved for many at once: the entity and its version."""
        return f"{self.entity}@{self.head.version}"


def subject_of(message: Message | BalanceState) -> str:
    """What a message is about: an order, or the customer or product whose state it is."""
    return message.entity if isinstance(message, BalanceState) else order_id_of(message)


def order_id_of(message: Received) -> str:
    """The order that a message is about."""
    match message:
        case OrderChecked() | WatchOrder() | ReceivedOrderEvent() | DeliverWebhook():
            return message.order_id
        case OrderEventMessage():
            return message.event.order.order_id
        case ReceivedOrderSummary():
            return message.fact.details.order_id
    return message.details.order_id
