"""The messages between the functions and to consumers, with one definition each.

These models, and those of `snapshots` for the content of events, define what `adapters.messaging.envelopes`
reads and writes. The JSON Schemas in schemas/ and asyncapi.yaml are generated from them (`contracts/`).
Commands are imperative, the answer is in the past tense. The names in JSON are the contract's.

Messages that we write are built from the domain without validation; messages that we read are validated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from order_capture.application.models import (
    OMITTABLE,
    Amount,
    Count,
    Id,
    Price,
    Text,
    TolerantModel,
    Version,
    whole,
)
from order_capture.application.snapshots import Decision, Terms, decision_values, terms_values
from order_capture.domain.events import OrderEvent, OrderEventSummary, OrderEventType, status_of
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance, LedgerSpec
from order_capture.domain.order import CheckResult, CheckType, OrderDetails, StatusChange

if TYPE_CHECKING:  # most functions that read messages do not use webhooks
    from order_capture.domain.webhooks import Delivery

MAX_DELAY = 900
"""Seconds; SQS's maximum."""


class _Command(TolerantModel):
    """The fields that a message has in its envelope, beside its data."""

    correlation_id: Annotated[SkipJsonSchema[str], Field(alias="correlationid", exclude=True)] = ""


class _OrderCommand(Terms, _Command):
    @classmethod
    def of(cls, details: OrderDetails, correlation_id: str) -> Self:
        """The command for this order."""
        return cls.build(correlation_id=correlation_id, **terms_values(details))


class CheckOrder(_OrderCommand):
    """To both checkers: hold what this order asks for, and answer."""

    sent_time: Annotated[SkipJsonSchema[str], Field(alias="time", exclude=True)] = ""
    """When it was sent, which no redrive changes; empty until then."""

    def __eq__(self, other: object) -> bool:
        """Whether it requests the same; `sent_time` does not matter."""
        if not isinstance(other, CheckOrder):
            return NotImplemented
        return (self.details, self.correlation_id) == (other.details, other.correlation_id)

    def __hash__(self) -> int:
        return hash((self.details, self.correlation_id))


class ReleaseOrder(_OrderCommand):
    """To both checkers: this order is refused, release what is held for it."""


class ShipOrder(_OrderCommand):
    """To shipping: this order is confirmed."""


class _Check(_Command):
    order_id: Id
    check: Annotated[CheckType, Field(strict=False)]


class OrderChecked(Decision, _Check):
    """To order_update: what one of the checks answered."""

    product_id: Annotated[SkipJsonSchema[str], Field(exclude=True)] = ""
    """The first product of the order: see `group_of`."""

    @classmethod
    def of(  # type: ignore[override]
        cls,
        order_id: str,
        check: CheckType,
        decision: CheckResult,
        correlation_id: str,
        product_id: str = "",
    ) -> Self:
        """The message with a check's result for this order."""
        return cls.build(
            order_id=order_id,
            check=check,
            correlation_id=correlation_id,
            product_id=product_id,
            **decision_values(decision, check),
        )

    @cached_property
    def decision(self) -> CheckResult:
        """The result for the domain."""
        return self.result(self.check)


class WatchOrder(_Command):
    """To the watchdog: check this order, some time after this was sent."""

    order_id: Id
    delay: Annotated[int, Field(ge=0, le=MAX_DELAY), BeforeValidator(whole)]
    """After how many seconds; the next look waits longer."""
    attempts: Annotated[Count, Field(alias="looks")]
    """How often it was checked before."""

    @classmethod
    def of(cls, order_id: str, correlation_id: str, delay: int, attempts: int = 0) -> Self:
        """The watch of this order, after `delay` seconds."""
        return cls.build(order_id=order_id, correlation_id=correlation_id, delay=delay, attempts=attempts)


class DeliverWebhook(_Command):
    """To the sender of webhooks: do what is due for this delivery."""

    webhook_id: Text
    delivery_id: Text
    order_id: Id
    attempt_series: Annotated[Count, Field(alias="round")]
    """Which round of tries it belongs to: a replay begins a new one."""
    delay: Annotated[SkipJsonSchema[int], Field(exclude=True)] = 0
    """Seconds after which SQS hands it out."""

    @property
    def customer_id(self) -> str:
        """The webhook's customer, by whom the queue is shared fairly."""
        return self.webhook_id.rpartition(".")[0]

    @classmethod
    def of(cls, delivery: Delivery, *, attempt_series: int | None = None, delay: int = 0) -> Self:
        """The request for a delivery, in its current series of attempts unless another is given."""
        return cls.build(
            webhook_id=delivery.webhook_id,
            delivery_id=delivery.delivery_id,
            order_id=delivery.order_id,
            correlation_id=delivery.correlation_id,
            attempt_series=delivery.attempt_series if attempt_series is None else attempt_series,
            delay=delay,
        )


class AccountState(TolerantModel):
    """How a customer's account stands."""

    customer_id: Id
    version: Version
    """Counts the changes: keep the state that has the highest."""
    deleted: bool
    """If so, there are no figures."""
    balance: Amount = OMITTABLE
    held: Amount = OMITTABLE
    settled: Amount = OMITTABLE

    @classmethod
    def of(cls, customer_id: str, head: Balance) -> Self:
        """The state of this customer."""
        return cls.build(customer_id=customer_id, **_state(ACCOUNTS, head))


class StockState(TolerantModel):
    """How a product's stock stands."""

    product_id: Id
    version: Version
    """Counts the changes: keep the state that has the highest."""
    deleted: bool
    """If so, there are no figures."""
    balance: Count = OMITTABLE
    held: Count = OMITTABLE
    settled: Count = OMITTABLE
    price: Price = OMITTABLE
    """What one unit costs, if the product has a price."""

    @classmethod
    def of(cls, product_id: str, head: Balance) -> Self:
        """The state of this product."""
        return cls.build(product_id=product_id, **_state(STOCK, head))


def _state(kind: LedgerSpec, head: Balance) -> dict[str, Any]:
    """The state of a customer or product; of a deleted one, only a tombstone.

    A tombstone is a state like any other, and is ordered among them by its version. The common form, null as
    the data, would have no version.
    """
    state: dict[str, Any] = {"version": head.version, "deleted": head.deleted}
    if head.deleted:
        return state
    figures = {name: kind.amount(getattr(head, name)) for name in ("balance", "held", "settled")}
    price = {} if head.price is None else {"price": head.price}
    return state | figures | price


@dataclass(frozen=True, slots=True)
class OrderEventMessage:
    """To all subscribers: something happened to an order."""

    event: OrderEvent
    for_webhooks: bool = True
    """Whether there may be a webhook for it."""
    for_connections: bool = True
    """Whether a WebSocket connection may be subscribed to it."""

    @property
    def order_id(self) -> str:
        """The id of the order."""
        return self.event.order.order_id

    @property
    def correlation_id(self) -> str:
        """The correlation id of the order."""
        return self.event.order.correlation_id


@dataclass(frozen=True, slots=True)
class ReceivedOrderEvent:
    """An `OrderEventMessage` as it is received; `body` is the whole message as it was published."""

    event_id: str
    type: str
    sequence: int
    time: str
    create_time: str
    details: OrderDetails
    body: str
    correlation_id: str
    callback_url: str = ""
    reason: str | None = None

    @property
    def order_id(self) -> str:
        """The id of the order."""
        return self.details.order_id

    @property
    def customer_id(self) -> str:
        """The id of the order's customer."""
        return self.details.customer_id

    @property
    def summary(self) -> OrderEventSummary:
        """The part of it that the reports need."""
        status = status_of(OrderEventType(self.type))
        change = StatusChange(status, self.time, self.sequence, self.reason)
        return OrderEventSummary(self.event_id, change, self.details, self.create_time)


@dataclass(frozen=True, slots=True)
class BalanceState:
    """To consumers that keep a copy: a customer's or product's state. The highest version is the latest."""

    kind: LedgerSpec
    entity: str
    head: Balance

    @property
    def correlation_id(self) -> str:
        """The entity and its version, not a request's id: one write of a head serves many requests."""
        return f"{self.entity}@{self.head.version}"

    @property
    def state(self) -> AccountState | StockState:
        """The state itself."""
        return (AccountState if self.kind is ACCOUNTS else StockState).of(self.entity, self.head)


Command = CheckOrder | ReleaseOrder | ShipOrder | OrderChecked | WatchOrder | DeliverWebhook
Message = Command | OrderEventMessage
Received = Command | ReceivedOrderEvent


def subject_of(message: Message | BalanceState) -> str:
    """The id of a message's subject: an order, or the customer or product of a state."""
    return message.entity if isinstance(message, BalanceState) else message.order_id


def group_of(message: Message | BalanceState) -> str | None:
    """The message group for fair queues; None without a group.

    For messages of an order it is the first product: a hot product must not delay the others. For a webhook
    it is its customer.
    """
    match message:
        case CheckOrder() | ReleaseOrder() | ShipOrder():
            return message.items[0].product_id
        case OrderChecked():
            return message.product_id or None
        case DeliverWebhook():
            return message.customer_id
        case _:
            return None
