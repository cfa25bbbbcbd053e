"""Snapshots of an order for clients and consumers, in API responses and events.

Separate from the messages, for functions that return orders and read no messages.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from order_capture.application.models import (
    OMITTABLE,
    Amount,
    Code,
    Correlation,
    Id,
    Price,
    Timestamp,
    TolerantModel,
    whole,
)
from order_capture.domain.ledger import LEDGERS
from order_capture.domain.order import (
    MAX_ITEMS,
    MAX_QTY,
    MAX_URL,
    CheckResult,
    CheckType,
    Order,
    OrderDetails,
    OrderLine,
    OrderStatus,
    Outcome,
)
from order_capture.domain.order_log import log_lines
from order_capture.domain.times import TIME_PATTERN


class Line(TolerantModel):
    """So many units of one product."""

    product_id: Id
    qty: Annotated[int, Field(ge=1, le=MAX_QTY), BeforeValidator(whole)]
    unit_price: Price = OMITTABLE
    """What one unit costs, if the order says it. A product that has a price is held at that price only."""

    @classmethod
    def of(cls, line: OrderLine) -> Self:
        """The model of an order's line."""
        price = {} if line.unit_price is None else {"unit_price": line.unit_price}
        return cls.build(product_id=line.product_id, qty=line.qty, **price)


class Terms(TolerantModel):
    """What was ordered."""

    order_id: Id
    customer_id: Id
    total_amount: Price
    items: Annotated[tuple[Line, ...], Field(min_length=1, max_length=MAX_ITEMS, strict=False)]

    @cached_property
    def details(self) -> OrderDetails:
        """The order details for the domain."""
        lines = tuple(OrderLine(line.product_id, line.qty, line.unit_price) for line in self.items)
        return OrderDetails(self.order_id, self.customer_id, lines, self.total_amount)


def terms_values(details: OrderDetails) -> dict[str, Any]:
    """The values of an order's details, for models with these fields."""
    return {
        "order_id": details.order_id,
        "customer_id": details.customer_id,
        "total_amount": details.total_amount,
        "items": tuple(Line.of(line) for line in details.items),
    }


class Decision(TolerantModel):
    """What one check found. HELD: it is held for the order. DECLINED: it is not, and `code` says why."""

    outcome: Annotated[Outcome, Field(strict=False)]
    code: Code | None
    """Null when it was held. More may be added: one that is not known is a refusal like any other."""
    id: Id | None
    """The customer or product it is about; null where an order of several products was held as a whole."""
    asked: Amount
    """The amount, or the units."""
    available: Amount | None
    """What there was at that moment; null unless there was too little."""
    price: Price = OMITTABLE
    """What the product cost at that moment; there only if it was declined for its price."""
    unit_price: Price | None = None
    """What the order says that it costs, or null if it does not say; there only beside `price`."""

    @classmethod
    def of(cls, result: CheckResult, check: CheckType) -> Self:
        """The model of a check's result."""
        return cls.build(**decision_values(result, check))

    def result(self, check: CheckType) -> CheckResult:
        """The check's result for the domain, with the ledger's number of decimals, however it was written."""
        return LEDGERS[check].with_decimals(
            CheckResult(
                self.outcome, self.asked, self.id, self.code, self.available, self.price, self.unit_price
            )
        )


def decision_values(result: CheckResult, check: CheckType) -> dict[str, Any]:
    """The values of a check's result, for models with these fields."""
    result = LEDGERS[check].with_decimals(result)
    prices = {} if result.price is None else {"price": result.price, "unit_price": result.unit_price}
    return {
        "outcome": result.outcome,
        "code": result.code,
        "id": result.entity,
        "asked": result.requested,
        "available": result.available,
        **prices,
    }


class Checks(TolerantModel):
    """The outcome of each check; null until it is known."""

    balance: Decision | None
    stock: Decision | None

    @classmethod
    def of(cls, order: Order) -> Self:
        """The checks of an order."""
        return cls.build(
            **{
                check.lower(): Decision.of(result, check) if (result := order.checks.get(check)) else None
                for check in CheckType
            }
        )


class OrderSnapshot(Terms):
    """The whole order, as `GET /order/{orderId}` showed it at that moment."""

    status: Annotated[OrderStatus, Field(strict=False)]
    logs: Annotated[
        tuple[Annotated[str, Field(pattern=f"^{TIME_PATTERN} .+$")], ...], Field(min_length=1, strict=False)
    ]
    """What has happened to it by then, a line each, in order: when, and what. For people."""
    checks: Checks
    create_time: Timestamp
    update_time: Timestamp
    correlation_id: Correlation
    callback_url: Annotated[str, Field(min_length=1, max_length=MAX_URL)] = OMITTABLE
    """Where its events are sent as well, if it names an address."""

    @classmethod
    def of(cls, order: Order) -> Self:
        """The order's current state."""
        callback = {"callback_url": order.callback_url} if order.callback_url else {}
        return cls.build(
            **terms_values(order.details),
            status=order.status,
            logs=log_lines(order),
            checks=Checks.of(order),
            create_time=order.create_time,
            update_time=order.update_time,
            correlation_id=order.correlation_id,
            **callback,
        )
