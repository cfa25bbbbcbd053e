"""What a client may send over a WebSocket connection, checked as strictly as requests are; and its answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from order_capture.application.ports import SubscriptionTarget
from order_capture.application.snapshots import OrderSnapshot
from order_capture.domain.order import Order
from order_capture.entrypoints.http.requests import Body, Id, read

MAX_TEXT_BYTES = 1024  # the longest there can be takes 130


class Subscribe(Body):
    """Asks to be notified of one order, or of all orders of a customer."""

    action: Literal["subscribe"]
    orderId: Id | None = None  # noqa: N815 - the contract's name
    customerId: Id | None = None  # noqa: N815

    @model_validator(mode="after")
    def _one_of_two(self) -> Subscribe:
        if (self.orderId is None) == (self.customerId is None):
            message = "exactly one of orderId and customerId is required"
            raise PydanticCustomError("one_of", message, {"field": "orderId"})
        return self


def wanted(text: str) -> SubscriptionTarget:
    """What a client wants to follow.

    Raises:
        RequestInvalidError: with every field that is wrong.
    """
    requested, _ = read(Subscribe, text.encode("utf-8", "surrogatepass"), MAX_TEXT_BYTES)
    return (
        SubscriptionTarget.order(requested.orderId)
        if requested.orderId
        else SubscriptionTarget.customer(requested.customerId or "")
    )


def subscribed(what: SubscriptionTarget, order: Order | None) -> dict[str, Any]:
    """What is followed from now on; an order with how it stands."""
    answer: dict[str, Any] = {"subscribed": {"orderId" if what.is_order else "customerId": what.id}}
    return answer if order is None else answer | {"order": OrderSnapshot.of(order).values()}
