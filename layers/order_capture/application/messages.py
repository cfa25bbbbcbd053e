"""What the functions say to each other. Commands are imperative, the answer is in the past tense."""

from __future__ import annotations

from dataclasses import dataclass

from order_capture.domain.events import OrderEvent, OrderFact
from order_capture.domain.order import Check, Decision, OrderTerms


@dataclass(frozen=True, slots=True)
class CheckOrder:
    """To both checkers: hold what this order asks for, and answer."""

    terms: OrderTerms
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """To both checkers: this order is refused, give back what is held for it."""

    terms: OrderTerms
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """To shipping: this order is confirmed."""

    terms: OrderTerms
    correlation_id: str


@dataclass(frozen=True, slots=True)
class OrderChecked:
    """To order_update: what one of the checks answered."""

    order_id: str
    check: Check
    decision: Decision
    correlation_id: str


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """To the watchdog: look at this order after `delay` seconds; `looks` says how often it has before."""

    order_id: str
    correlation_id: str
    delay: int
    looks: int = 0


@dataclass(frozen=True, slots=True)
class OrderHappened:
    """To whoever wants to know: something happened to an order."""

    event: OrderEvent

    @property
    def correlation_id(self) -> str:
        """The correlation id of the order."""
        return self.event.order.correlation_id


@dataclass(frozen=True, slots=True)
class OrderTold:
    """From the event topic, to one who follows along: what `OrderHappened` said, as far as it is read."""

    fact: OrderFact
    correlation_id: str


Message = CheckOrder | ReleaseOrder | ShipOrder | OrderChecked | WatchOrder | OrderHappened
Received = Message | OrderTold


def order_id_of(message: Received) -> str:
    """The order that a message is about."""
    match message:
        case OrderChecked() | WatchOrder():
            return message.order_id
        case OrderHappened():
            return message.event.order.order_id
        case OrderTold():
            return message.fact.terms.order_id
    return message.terms.order_id
