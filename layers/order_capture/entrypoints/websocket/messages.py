"""The messages that clients may send over a WebSocket, validated as strictly as requests; the responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from order_capture.application.ports import SubscriptionTarget
from order_capture.application.snapshots import OrderSnapshot
from order_capture.domain.order import Order
from order_capture.entrypoints.http.requests import Body, Id, read

MAX_TEXT_BYTES = 1024  # the longest valid message takes 130


def _true(value: object) -> object:
    if value is True or value is None:
        return value
    raise PydanticCustomError("true", "not true")


class Subscribe(Body):
    """Asks to be notified of one order, of all orders of a customer, or of all orders."""

    action: Literal["subscribe"]
    orderId: Id | None = None  # noqa: N815 - the contract's name
    customerId: Id | None = None  # noqa: N815
    all: Annotated[bool | None, BeforeValidator(_true)] = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Subscribe:
        if [self.orderId, self.customerId, self.all].count(None) != 2:
            message = "exactly one of orderId, customerId and all is required"
            raise PydanticCustomError("one_of", message, {"field": "orderId"})
        return self


def wanted(text: str) -> SubscriptionTarget:
    """The target that a client subscribes to.

    Raises:
        RequestInvalidError: with every invalid field.
    """
    requested, _ = read(Subscribe, text.encode("utf-8", "surrogatepass"), MAX_TEXT_BYTES)
    if requested.orderId:
        return SubscriptionTarget.order(requested.orderId)
    if requested.customerId:
        return SubscriptionTarget.customer(requested.customerId)
    return SubscriptionTarget.all_orders()


def subscribed(what: SubscriptionTarget, order: Order | None) -> dict[str, Any]:
    """The confirmation of a subscription; for an order it contains the current state."""
    name = {"order": "orderId", "customer": "customerId", "all": "all"}[what.kind]
    answer: dict[str, Any] = {"subscribed": {name: what.id or True}}
    return answer if order is None else answer | {"order": OrderSnapshot.of(order).values()}
