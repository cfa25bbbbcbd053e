"""What is in each message: the models that its JSON Schema is generated from.

They are open: whoever reads a message ignores fields that they do not know. Only what clients say to us is
closed, as requests are.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model
from pydantic.json_schema import SkipJsonSchema

from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.adapters.serializers.fields import ID_PATTERN
from order_capture.domain.events import OrderEventType
from order_capture.domain.order import (
    MAX_ITEMS,
    MAX_QTY,
    MAX_TOTAL,
    CheckType,
    DeclineCode,
    OrderStatus,
    Outcome,
)
from order_capture.entrypoints.http.problems import MAX_ERRORS
from order_capture.entrypoints.http.urls import MAX_URL
from order_capture.entrypoints.websocket.api import MAX_REQUESTED

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Text = Annotated[str, Field(min_length=1)]
# In UTC and to the millisecond, so that times sort as texts.
_TIME = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)
Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_TIME}$"})]
# A number with all its decimals, which is not for floats: 25.50.
Amount = Annotated[Decimal, WithJsonSchema({"type": "number", "minimum": 0})]
# What an order costs, or a unit of a product.
Price = Annotated[Decimal, WithJsonSchema({"type": "number", "minimum": 0, "maximum": float(MAX_TOTAL)})]
# An open set, so that a new one breaks nobody.
Code = Annotated[
    str,
    Field(
        pattern="^[A-Z][A-Z0-9_]{0,63}$",
        json_schema_extra={"x-extensible-enum": [str(code) for code in DeclineCode]},
    ),
]
Count = Annotated[int, Field(ge=0)]

# A field that is there or not, but never null.
Absent = SkipJsonSchema[None]


class _Open(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Envelope(_Open):
    """A CloudEvent 1.0 in structured JSON. `data` is as the schema says that `dataschema` names."""

    specversion: Literal["1.0"]
    id: Text
    """Of this message. An event has the same id each time that it is published."""
    source: Annotated[str, Field(pattern="^/order-capture/[a-z_]+$")]
    """The function that wrote it."""
    type: Text
    time: Timestamp
    """When it was written; of an event, when it happened."""
    subject: Text
    """What it is about: the id of the order, or of the customer or product whose state it is."""
    sequence: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | Absent = None
    """Of an event: its place among the events of its order, from 1, without a gap."""
    reason: Code | Absent = None
    """Of an event: why, where its type does not say it all: of `order.rejected`, the code of the check."""
    datacontenttype: Literal["application/json"]
    dataschema: Text
    """The `$id` of the schema of `data`; its version is at the end."""
    correlationid: Annotated[str, Field(max_length=128)]
    """The correlation id of the request that it all began with; of a state, the id and its version."""
    data: dict[str, Any]


class Line(_Open):
    """So many units of one product."""

    productId: Id  # noqa: N815 - the contract's name
    qty: Annotated[int, Field(ge=1, le=MAX_QTY)]
    unitPrice: Price | Absent = None  # noqa: N815
    """What one unit costs, if the order says it. A product that has a price is held at that price only."""


class Terms(_Open):
    """What was ordered."""

    orderId: Id  # noqa: N815
    customerId: Id  # noqa: N815
    totalAmount: Price  # noqa: N815
    items: Annotated[list[Line], Field(min_length=1, max_length=MAX_ITEMS)]


class OrderCheck(Terms):
    """To both checkers: hold what this order asks for, and answer."""


class OrderRelease(Terms):
    """To both checkers: this order is refused, give back what is held for it."""


class OrderShip(Terms):
    """To shipping: this order is confirmed."""


class Decision(_Open):
    """What one check found. HELD: it is set aside for the order. DECLINED: it is not, and `code` says why."""

    outcome: Outcome
    code: Code | None
    """Null when it was held. More may be added: one that is not known is a refusal like any other."""
    id: Id | None
    """The customer or product it is about; null where an order of several products was held as a whole."""
    asked: Amount
    """The amount, or the units."""
    available: Amount | None
    """What there was at that moment; null unless there was too little."""
    price: Price | Absent = None
    """What the product cost at that moment; there only if it was declined for its price."""
    unitPrice: Price | None = None  # noqa: N815
    """What the order says that it costs, or null if it does not say; there only beside `price`."""


class OrderChecked(Decision):
    """To order_update: what one of the checks answered."""

    orderId: Id  # noqa: N815
    check: CheckType


class OrderWatch(_Open):
    """To the watchdog: look at this order, some time after this was sent."""

    orderId: Id  # noqa: N815
    delay: Annotated[int, Field(ge=0, le=MAX_DELAY_SECONDS)]
    """After how many seconds; the next look waits longer."""
    looks: Count
    """How often it was looked at before."""


class WebhookDeliver(_Open):
    """To the sender of webhooks: look at this delivery, and do what is due."""

    webhookId: Text  # noqa: N815
    deliveryId: Text  # noqa: N815
    orderId: Id  # noqa: N815
    round: Count
    """Which round of tries it belongs to: a replay begins a new one."""


class Checks(_Open):
    """The outcome of each check; null until it is known."""

    balance: Decision | None
    stock: Decision | None


class Order(Terms):
    """The whole order, as `GET /order/{orderId}` showed it at that moment."""

    status: OrderStatus
    logs: Annotated[list[Annotated[str, Field(pattern=f"^{_TIME} .+$")]], Field(min_length=1)]
    """What has happened to it by then, a line each, in order: when, and what."""
    checks: Checks
    callbackUrl: Annotated[str, Field(min_length=1, max_length=MAX_URL)] | Absent = None  # noqa: N815
    """Where its events are sent as well, if it names an address."""
    createTime: Timestamp  # noqa: N815
    updateTime: Timestamp  # noqa: N815
    correlationId: Annotated[str, Field(max_length=128)]  # noqa: N815


def order_at(event_type: OrderEventType) -> type[Order]:
    """The order as an event of this type has it: its status can only be one."""
    name = event_type.name
    status = OrderStatus.PENDING if event_type is OrderEventType.PLACED else OrderStatus[name]
    pinned: Any = Literal[status.value]
    return create_model(
        f"Order{name.capitalize()}",
        __base__=Order,
        __doc__=f"An order was {name.lower()}. {Order.__doc__}",
        status=(pinned, ...),
    )


class _State(_Open):
    version: Annotated[int, Field(ge=1)]
    """Counts the changes: keep the state that has the highest."""
    deleted: bool
    """If so, there are no figures."""


class AccountState(_State):
    """How a customer's account stands."""

    customerId: Id  # noqa: N815
    balance: Amount | Absent = None
    held: Amount | Absent = None
    settled: Amount | Absent = None


class StockState(_State):
    """How a product's stock stands."""

    productId: Id  # noqa: N815
    balance: Count | Absent = None
    held: Count | Absent = None
    settled: Count | Absent = None
    price: Price | Absent = None
    """What one unit costs, if the product has a price."""


class SocketSubscribe(BaseModel):
    """Asks to be told of one order, or of all orders of a customer. No id is of dots only."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 2, "maxProperties": 2})

    action: Literal["subscribe"]
    orderId: Id | Absent = None  # noqa: N815
    customerId: Id | Absent = None  # noqa: N815


class Subscribed(_Open):
    """One of the two."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    orderId: Id | Absent = None  # noqa: N815
    customerId: Id | Absent = None  # noqa: N815


class SocketSubscribed(_Open):
    """The answer to a subscription: what is followed from now on."""

    subscribed: Subscribed
    order: Order | Absent = None
    """How the order stands, if it is one that is followed: what was sent before is in it."""


class FieldError(_Open):
    """One field of a message and what is wrong with it."""

    field: str
    message: str


class Problem(_Open):
    """What went wrong, after RFC 9457."""

    type: Annotated[str, Field(pattern="^urn:order-capture:problem:[a-z-]+$")]
    """The kind of problem, which docs/reference/problems.md explains."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    requestId: str | Absent = None  # noqa: N815
    errors: Annotated[list[FieldError], Field(max_length=MAX_ERRORS)] | Absent = None
    """The fields that are wrong, the first 50 of them."""
    moreErrors: Annotated[int, Field(ge=1)] | Absent = None  # noqa: N815
    """How many fields are wrong beside those."""


class SocketProblem(_Open):
    """The answer to a message that asks for what there is not. The connection stays open."""

    problem: Problem
    asked: Annotated[str, Field(max_length=MAX_REQUESTED)]
    """What it is an answer to, or the beginning of it."""
