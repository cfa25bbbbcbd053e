"""What goes over a WebSocket connection: the models that its JSON Schemas are generated from.

What clients send is closed, as requests are; what they are answered is open: they ignore fields that they do
not know. All other messages are defined in `order_capture.application.messages`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from order_capture.application.models import OMITTABLE, Id, TolerantModel
from order_capture.application.snapshots import OrderSnapshot
from order_capture.entrypoints.http.problems import MAX_ERRORS
from order_capture.entrypoints.websocket.api import MAX_REQUESTED

Order = create_model("Order", __base__=OrderSnapshot, __doc__=OrderSnapshot.__doc__)
"""As the schema calls it."""


class SocketSubscribe(BaseModel):
    """Asks to be notified of one order, of all orders of a customer, or, as a service or an operator, of all.

    No id is of dots only.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 2, "maxProperties": 2})

    action: Literal["subscribe"]
    orderId: Id = OMITTABLE  # noqa: N815
    customerId: Id = OMITTABLE  # noqa: N815
    all: Literal[True] = OMITTABLE


class Subscribed(TolerantModel):
    """One of the three."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    orderId: Id = OMITTABLE  # noqa: N815
    customerId: Id = OMITTABLE  # noqa: N815
    all: Literal[True] = OMITTABLE


class SocketSubscribed(TolerantModel):
    """The answer to a subscription: what is followed from now on."""

    subscribed: Subscribed
    order: Order = OMITTABLE
    """How the order stands, if it is one that is followed: what was sent before is in it."""


class FieldError(TolerantModel):
    """One field of a message and what is wrong with it."""

    field: str
    message: str


class Problem(TolerantModel):
    """What went wrong, after RFC 9457."""

    type: Annotated[str, Field(pattern="^urn:order-capture:problem:[a-z-]+$")]
    """The kind of problem, which docs/reference/problems.md explains."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    requestId: str = OMITTABLE  # noqa: N815
    errors: Annotated[list[FieldError], Field(max_length=MAX_ERRORS)] = OMITTABLE
    """The fields that are wrong, the first 50 of them."""
    moreErrors: Annotated[int, Field(ge=1)] = OMITTABLE  # noqa: N815
    """How many fields are wrong beside those."""


class SocketProblem(TolerantModel):
    """The answer to a message that asks for what there is not. The connection stays open."""

    problem: Problem
    asked: Annotated[str, Field(max_length=MAX_REQUESTED)]
    """What it is an answer to, or the beginning of it."""
