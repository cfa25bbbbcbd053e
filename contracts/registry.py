"""The registry of messages, their versions and their channels.

To add a message, add it here, its model to `order_capture.application.messages` and a sample to
`contracts.samples`; then run `make schemas`. That refuses a change that breaks readers or writers of a
released version. Such a change needs a new version: a separate entry in `MESSAGES`, beside the old one for as
long as such messages exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, create_model

from contracts import models
from contracts.http_baseline import REQUEST, RESPONSE
from order_capture.adapters.messaging import envelopes
from order_capture.application.messages import AccountState, StockState
from order_capture.application.snapshots import OrderSnapshot
from order_capture.domain.events import OrderEventType, status_of

Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Message:
    """One version of a message type."""

    type: str
    model: Model
    version: str = envelopes.VERSION
    enveloped: bool = True
    """Whether it is the `data` of a CloudEvent, rather than the whole message."""
    sequenced: bool = False
    """Whether it has a `sequence` among the events of its order."""
    compatibility: tuple[str, ...] = (REQUEST, RESPONSE)
    """Which side may run another release: the sender, the receiver. Mostly both: either of two functions may
    be the newer one, and queued messages may come from an older one."""

    @property
    def name(self) -> str:
        """Its name in code: `OrderPlaced`, or `OrderPlacedV2` in a later version."""
        words = "".join(word.capitalize() for word in self.type.split("."))
        return words if self.version == "1" else f"{words}V{self.version}"

    @property
    def dataschema(self) -> str:
        """The name of its schema, which is in the envelope."""
        return envelopes.dataschema(self.type, self.version)


class Kind(Enum):
    """The kind of a channel."""

    TOPIC = "sns"
    QUEUE = "sqs"
    WEBHOOK = "https"
    SOCKET = "wss"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of messages: a topic or queue by its name in template.yaml, a webhook, the WebSocket API."""

    name: str
    kind: Kind
    title: str
    messages: tuple[Message, ...]
    senders: tuple[str, ...] = ()
    """The functions that send to it. What is sent to a topic is in the queues behind it without any."""
    receivers: tuple[str, ...] = ()
    topic: str = ""
    """For a queue: the topic that it subscribes to."""
    unless: str = ""
    """For such a queue: the attribute that excludes a message."""
    requests: tuple[Message, ...] = ()
    """What others send to it; then that is what its receivers get, and `replies` what they answer."""
    replies: tuple[Message, ...] = ()

    @property
    def filter_policy(self) -> dict[str, list[Any]]:
        """The filter policy of a queue's subscription."""
        types: list[Any] = [message.type for message in self.messages]
        return {"type": types, **({self.unless: [{"exists": False}]} if self.unless else {})}

    @property
    def all_messages(self) -> tuple[Message, ...]:
        """All messages on it."""
        return (*self.requests, *self.replies, *self.messages)


ENVELOPE = Message("envelope", envelopes.CloudEvent, enveloped=False)


def _event_model(event_type: OrderEventType) -> Model:
    """The order in an event of this type, which allows only one status."""
    name = event_type.name
    pinned: Any = Literal[status_of(event_type).value]
    return create_model(
        f"Order{name.capitalize()}",
        __base__=OrderSnapshot,
        __doc__=f"An order was {name.lower()}. {OrderSnapshot.__doc__}",
        status=(pinned, ...),
    )


CHECK, RELEASE, SHIP, CHECKED, WATCH, DELIVER = (
    Message(kind, model) for kind, model in envelopes.COMMANDS.items()
)
EVENTS = tuple(Message(str(each), _event_model(each), sequenced=True) for each in OrderEventType)
ACCOUNT = Message("account.state", AccountState)
STOCK = Message("stock.state", StockState)
SUBSCRIBE = Message("socket.subscribe", models.SocketSubscribe, enveloped=False, compatibility=(REQUEST,))
SUBSCRIBED = Message("socket.subscribed", models.SocketSubscribed, enveloped=False, compatibility=(RESPONSE,))
REFUSED = Message("socket.problem", models.SocketProblem, enveloped=False, compatibility=(RESPONSE,))

MESSAGES = (
    *(CHECK, RELEASE, CHECKED, SHIP, WATCH, DELIVER),
    *(*EVENTS, ACCOUNT, STOCK),
    *(SUBSCRIBE, SUBSCRIBED, REFUSED),
)

CHANNELS = (
    Channel(
        "OrderTopic",
        Kind.TOPIC,
        "Requests both checks of an order, or the release of its holds.",
        (CHECK, RELEASE),
        senders=("order_api", "order_update", "order_watchdog"),
    ),
    Channel(
        "BalanceCheckerQueue",
        Kind.QUEUE,
        "Can the customer pay for the order?",
        (CHECK, RELEASE),
        receivers=("balance_checker",),
        topic="OrderTopic",
    ),
    Channel(
        "StockCheckerQueue",
        Kind.QUEUE,
        "Is the order in stock?",
        (CHECK, RELEASE),
        receivers=("stock_checker",),
        topic="OrderTopic",
    ),
    Channel(
        "OrderUpdateQueue",
        Kind.QUEUE,
        "The results of the checks.",
        (CHECKED,),
        senders=("balance_checker", "stock_checker"),
        receivers=("order_update",),
    ),
    Channel(
        "ShipOrderQueue",
        Kind.QUEUE,
        "Confirmed orders to ship.",
        (SHIP,),
        senders=("order_update", "order_watchdog"),
        receivers=("ship_order",),
    ),
    Channel(
        "OrderWatchQueue",
        Kind.QUEUE,
        "Orders to check later, in case a message was lost.",
        (WATCH,),
        senders=("change_publisher", "order_watchdog"),
        receivers=("order_watchdog",),
    ),
    Channel(
        "OrderEventTopic",
        Kind.TOPIC,
        "All order events, for any subscriber. `sequence` numbers the events of an order.",
        EVENTS,
        senders=("change_publisher",),
    ),
    Channel(
        "WebhookDispatcherQueue",
        Kind.QUEUE,
        "Order events, for the webhooks that subscribe to them.",
        EVENTS,
        receivers=("webhook_dispatcher",),
        topic="OrderEventTopic",
        unless=envelopes.NO_WEBHOOKS,
    ),
    Channel(
        "WebhookSenderQueue",
        Kind.QUEUE,
        "Webhook deliveries that are due.",
        (DELIVER,),
        senders=("webhook_api", "webhook_dispatcher", "webhook_sender"),
        receivers=("webhook_sender",),
    ),
    Channel(
        "WebhookSlowQueue",
        Kind.QUEUE,
        "Webhook deliveries to receivers that are slow or fail.",
        (DELIVER,),
        senders=("webhook_dispatcher", "webhook_sender"),
        receivers=("webhook_sender",),
    ),
    Channel(
        "WebhookSenderDlq",
        Kind.QUEUE,
        "Deliveries that failed after their last attempt. The function sends them here itself.",
        (DELIVER,),
        senders=("webhook_sender",),
    ),
    Channel(
        "Webhook",
        Kind.WEBHOOK,
        "The events of a customer's orders, POSTed to the customer's URL according to Standard Webhooks.",
        EVENTS,
        senders=("webhook_sender",),
    ),
    Channel(
        "SocketPusherQueue",
        Kind.QUEUE,
        "Order events, for subscriptions over a WebSocket connection.",
        EVENTS,
        receivers=("socket_pusher",),
        topic="OrderEventTopic",
        unless=envelopes.NO_CONNECTIONS,
    ),
    Channel(
        "ReportQueue",
        Kind.QUEUE,
        "Order events, for the daily reports.",
        EVENTS,
        receivers=("report_projector",),
        topic="OrderEventTopic",
    ),
    Channel(
        "AccountTopic",
        Kind.TOPIC,
        "The current state of each account, for consumers that keep a copy.",
        (ACCOUNT,),
        senders=("ledger_publisher",),
    ),
    Channel(
        "StockTopic",
        Kind.TOPIC,
        "The current state of each product's stock, for consumers that keep a copy.",
        (STOCK,),
        senders=("ledger_publisher",),
    ),
    Channel(
        "SocketApi",
        Kind.SOCKET,
        "A client's subscription requests, and its events: see docs/reference/websocket.md.",
        EVENTS,
        senders=("socket_pusher",),
        receivers=("socket_api",),
        requests=(SUBSCRIBE,),
        replies=(SUBSCRIBED, REFUSED),
    ),
)
