"""Messages as CloudEvents 1.0 in structured JSON: one envelope for all of them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from order_capture.adapters.serializers import decimal_json
from order_capture.adapters.serializers.decimal_json import NotJsonError
from order_capture.application.messages import (
    BalanceState,
    CheckOrder,
    Command,
    DeliverWebhook,
    Message,
    OrderChecked,
    OrderEventMessage,
    Received,
    ReceivedOrderEvent,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
    subject_of,
)
from order_capture.application.models import OMITTABLE, Code, Correlation, Text, Timestamp, TolerantModel
from order_capture.application.snapshots import Decision, OrderSnapshot
from order_capture.domain.errors import InvalidMessageError
from order_capture.domain.events import OrderEventType, event_type
from order_capture.domain.order import CheckType, Outcome, sequences_of

SPEC_VERSION = "1.0"
VERSION = "1"
"""The version of the messages' data: the only one that is written or read."""

COMMANDS: Mapping[str, type[Command]] = {
    "order.check": CheckOrder,
    "order.release": ReleaseOrder,
    "order.ship": ShipOrder,
    "order.checked": OrderChecked,
    "order.watch": WatchOrder,
    "webhook.deliver": DeliverWebhook,
}
STATES: Mapping[CheckType, str] = {CheckType.BALANCE: "account.state", CheckType.STOCK: "stock.state"}
# Attributes of an event that has no consumers of a kind. They are absent where it may have some, or where
# that is not known (an earlier release, an operator): a filter for their absence never loses an event.
NO_WEBHOOKS, NO_CONNECTIONS = "noWebhooks", "noConnections"
_TYPES = {model: kind for kind, model in COMMANDS.items()}
_EVENTS = frozenset(OrderEventType)
_Model = TypeVar("_Model", bound=TolerantModel)


class CloudEvent(TolerantModel):
    """A CloudEvent 1.0 in structured JSON. `data` is as the schema says that `dataschema` names."""

    model_config = ConfigDict(alias_generator=None)

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
    sequence: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] = OMITTABLE
    """Of an event: its place among the events of its order, from 1, without a gap."""
    reason: Code = OMITTABLE
    """Of an event: why, where its type does not say it all: of `order.rejected`, the code of the check."""
    datacontenttype: Literal["application/json"]
    dataschema: Text
    """The `$id` of the schema of `data`; its version is at the end."""
    correlationid: Correlation
    """The correlation id of the request that it all began with; of a state, the id and its version."""
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message ready to be sent."""

    type: str
    version: str
    body: str
    unwanted: tuple[str, ...] = ()

    @property
    def attributes(self) -> dict[str, str]:
        """The message attributes for filters: type, version, and the kinds of consumers it does not have."""
        return {"type": self.type, "version": self.version, **dict.fromkeys(self.unwanted, "true")}


def encode(message: Message | BalanceState, *, message_id: str, source: str, time: str) -> Envelope:
    """Put a message into its envelope."""
    more: dict[str, Any] = {}
    unwanted: tuple[str, ...] = ()
    if isinstance(message, OrderEventMessage):
        change, kind = message.event.change, str(message.event.type)
        message_id, time = event_id(kind, message.order_id), change.time
        more["sequence"] = str(change.sequence)
        if change.reason is not None:
            more["reason"] = change.reason
        data = OrderSnapshot.of(message.event.order).values()
        wanted = {NO_WEBHOOKS: message.for_webhooks, NO_CONNECTIONS: message.for_connections}
        unwanted = tuple(name for name, is_wanted in wanted.items() if not is_wanted)
    elif isinstance(message, BalanceState):
        kind = STATES[message.kind.check]
        message_id, time = event_id(kind, message.correlation_id), message.head.update_time
        data = message.state.values()
    else:
        kind, data = _TYPES[type(message)], message.values()
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
        "data": data,
    }
    return Envelope(kind, VERSION, decimal_json.dumps(body), unwanted)


def decode(body: str) -> Received:
    """Read a message. An event keeps its body, to be forwarded unchanged.

    Each field of the contract must have its own JSON type, or the message is refused: null is not converted
    to a text, nor a text to a number. Fields that are not in the contract are ignored.

    Raises:
        InvalidMessageError: it is not JSON, not a CloudEvent, or of an unknown type or version.
    """
    event, content = _read(body)
    if not isinstance(content, OrderSnapshot):
        return content
    return _event(event, content, body)


def decode_checked(body: str) -> ReceivedOrderEvent:
    """Read an event for the reports, which count its time and sequence: its order must allow both.

    Raises:
        InvalidMessageError: it is not an event, or contradicts its order.
    """
    event, content = _read(body)
    if not isinstance(content, OrderSnapshot):
        raise InvalidMessageError(f"a {type(content).__name__} is not an event")
    received = _event(event, content, body)
    if (
        event_type(content.status) != received.type
        or received.sequence not in sequences_of(content.status)
        or not content.create_time <= received.time <= content.update_time
    ):
        raise InvalidMessageError("an event that contradicts its order")
    return received


def event_id(kind: str, what: str) -> str:
    """The same id each time that an event is published, so that consumers can detect duplicates."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{what}"))


def dataschema(kind: object, version: str = VERSION) -> str:
    """The name of the schema of a message's data: the `$id` of `schemas/<kind>/<version>.json`."""
    return f"urn:order-capture:{kind}:{version}"


def _read(body: str) -> tuple[CloudEvent, Command | OrderSnapshot]:
    """The envelope and its content."""
    try:
        values = decimal_json.loads(body)
    except NotJsonError as error:
        raise InvalidMessageError(f"not a message of ours: {error}") from error
    event = _validated(CloudEvent, values)
    if event.dataschema != dataschema(event.type):
        raise InvalidMessageError("message of an unknown version")
    if event.type in _EVENTS:
        if event.sequence is None:
            raise InvalidMessageError("not a message of ours: an event needs a sequence")
        return event, _validated(OrderSnapshot, event.data)
    if event.type not in COMMANDS:
        raise InvalidMessageError("message of an unknown type")
    beside = {"correlationid": event.correlationid, "time": event.time}
    return event, _validated(COMMANDS[event.type], {**event.data, **beside})


def _validated(model: type[_Model], values: object) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # The field and the fault, but never the value: it is logged.
        faults = [
            f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}"
            for each in error.errors(include_input=False, include_context=False, include_url=False)
        ]
        raise InvalidMessageError(f"not a message of ours: {'; '.join(faults[:3])}") from None


def _event(event: CloudEvent, order: OrderSnapshot, body: str) -> ReceivedOrderEvent:
    return ReceivedOrderEvent(
        event.id,
        event.type,
        int(event.sequence),
        event.time,
        order.create_time,
        order.details,
        body,
        event.correlationid,
        order.callback_url or "",
        event.reason or _decline_code(order),
    )


def _decline_code(order: OrderSnapshot) -> str | None:
    """Why an order was rejected, for an event of a release that wrote no `reason`.

    If both checks declined the order, either may be the reason: the event does not contain which.
    """
    answers: list[Decision | None] = [order.checks.balance, order.checks.stock]
    return next((each.code for each in answers if each and each.outcome is Outcome.DECLINED), None)
