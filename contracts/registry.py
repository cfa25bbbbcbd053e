"""The registry: which messages there are, in which versions, and which channel carries them.

What is new is added here, with its model in `contracts.models` and a sample in `contracts.samples`; then
`make schemas`. A change that breaks whoever reads or writes a version that is out is refused there: it is a
new version, an entry of its own in `MESSAGES` beside the old one, for as long as messages of that are around.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel

from contracts import models
from contracts.http_baseline import ANSWERED, SENT
from order_capture.adapters.messaging import envelopes
from order_capture.domain.events import OrderEventType

Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Message:
    """A kind of message in one version."""

    type: str
    model: Model
    version: str = envelopes.VERSION
    enveloped: bool = True
    """Whether it is the `data` of a CloudEvent, rather than all there is."""
    sequenced: bool = False
    """Whether it has a place among the events of its order."""
    others: tuple[str, ...] = (SENT, ANSWERED)
    """Who may be of another release than we are: who has sent it, who is given it. Mostly both: of any two
    functions either may be the newer one, and what lies in a queue was sent by an older one."""

    @property
    def name(self) -> str:
        """What code calls it: `OrderPlaced`, or `OrderPlacedV2` in a later version."""
        words = "".join(word.capitalize() for word in self.type.split("."))
        return words if self.version == "1" else f"{words}V{self.version}"

    @property
    def dataschema(self) -> str:
        """The name of its schema, which the envelope carries."""
        return envelopes.dataschema(self.type, self.version)


class Kind(Enum):
    """What a channel is."""

    TOPIC = "sns"
    QUEUE = "sqs"
    WEBHOOK = "https"
    SOCKET = "wss"


@dataclass(frozen=True, slots=True)
class Channel:
    """A way that messages go: a topic or queue by its name in template.yaml, a webhook, the WebSocket API."""

    name: str
    kind: Kind
    title: str
    messages: tuple[Message, ...]
    senders: tuple[str, ...] = ()
    """The functions that send to it. What is sent to a topic is in the queues behind it without any."""
    receivers: tuple[str, ...] = ()
    topic: str = ""
    """Of a queue: the topic that it is behind."""
    asked: tuple[Message, ...] = ()
    """What others send to it; then that is what its receivers get, and `answers` what they answer."""
    answers: tuple[Message, ...] = ()

    @property
    def carries(self) -> tuple[Message, ...]:
        """All that is to be seen on it."""
        return (*self.asked, *self.answers, *self.messages)


ENVELOPE = Message("envelope", models.Envelope, enveloped=False)

CHECK = Message("order.check", models.OrderCheck)
RELEASE = Message("order.release", models.OrderRelease)
CHECKED = Message("order.checked", models.OrderChecked)
SHIP = Message("order.ship", models.OrderShip)
WATCH = Message("order.watch", models.OrderWatch)
DELIVER = Message("webhook.deliver", models.WebhookDeliver)
EVENTS = tuple(Message(str(each), models.order_at(each), sequenced=True) for each in OrderEventType)
ACCOUNT = Message("account.state", models.AccountState)
STOCK = Message("stock.state", models.StockState)
SUBSCRIBE = Message("socket.subscribe", models.SocketSubscribe, enveloped=False, others=(SENT,))
SUBSCRIBED = Message("socket.subscribed", models.SocketSubscribed, enveloped=False, others=(ANSWERED,))
REFUSED = Message("socket.problem", models.SocketProblem, enveloped=False, others=(ANSWERED,))

MESSAGES = (
    *(CHECK, RELEASE, CHECKED, SHIP, WATCH, DELIVER),
    *(*EVENTS, ACCOUNT, STOCK),
    *(SUBSCRIBE, SUBSCRIBED, REFUSED),
)

CHANNELS = (
    Channel(
        "OrderTopic",
        Kind.TOPIC,
        "Asks for both checks of an order, or has what they hold given back.",
        (CHECK, RELEASE),
        senders=("order_api", "order_update", "order_watchdog"),
    ),
    Channel(
        "BalanceCheckerQueue",
        Kind.QUEUE,
        "Can the customer pay for it?",
        (CHECK, RELEASE),
        receivers=("balance_checker",),
        topic="OrderTopic",
    ),
    Channel(
        "StockCheckerQueue",
        Kind.QUEUE,
        "Is it in stock?",
        (CHECK, RELEASE),
        receivers=("stock_checker",),
        topic="OrderTopic",
    ),
    Channel(
        "OrderUpdateQueue",
        Kind.QUEUE,
        "What the checks answer.",
        (CHECKED,),
        senders=("balance_checker", "stock_checker"),
        receivers=("order_update",),
    ),
    Channel(
        "ShipOrderQueue",
        Kind.QUEUE,
        "What is confirmed and to be shipped.",
        (SHIP,),
        senders=("order_update", "order_watchdog"),
        receivers=("ship_order",),
    ),
    Channel(
        "OrderWatchQueue",
        Kind.QUEUE,
        "What is looked at later, in case it got lost on its way.",
        (WATCH,),
        senders=("change_publisher", "order_watchdog"),
        receivers=("order_watchdog",),
    ),
    Channel(
        "OrderEventTopic",
        Kind.TOPIC,
        "Whatever happens to an order, for whoever subscribes. `sequence` says in which order it happened.",
        EVENTS,
        senders=("change_publisher",),
    ),
    Channel(
        "WebhookDispatcherQueue",
        Kind.QUEUE,
        "The events, for the webhooks that want them.",
        EVENTS,
        receivers=("webhook_dispatcher",),
        topic="OrderEventTopic",
    ),
    Channel(
        "WebhookSenderQueue",
        Kind.QUEUE,
        "Which deliveries of webhooks are to be looked at.",
        (DELIVER,),
        senders=("webhook_api", "webhook_dispatcher", "webhook_sender"),
        receivers=("webhook_sender",),
    ),
    Channel(
        "WebhookSlowQueue",
        Kind.QUEUE,
        "The same, of receivers that are slow or fail.",
        (DELIVER,),
        senders=("webhook_dispatcher", "webhook_sender"),
        receivers=("webhook_sender",),
    ),
    Channel(
        "WebhookSenderDlq",
        Kind.QUEUE,
        "The deliveries that were given up: put here as a message and not only left over as one.",
        (DELIVER,),
        senders=("webhook_sender",),
    ),
    Channel(
        "Webhook",
        Kind.WEBHOOK,
        "The events of a customer's orders, POSTed where the customer wants them, by Standard Webhooks.",
        EVENTS,
        senders=("webhook_sender",),
    ),
    Channel(
        "SocketPusherQueue",
        Kind.QUEUE,
        "The events, for who follows an order over a WebSocket connection.",
        EVENTS,
        receivers=("socket_pusher",),
        topic="OrderEventTopic",
    ),
    Channel(
        "ReportQueue",
        Kind.QUEUE,
        "The events, for the daily reports.",
        EVENTS,
        receivers=("report_projector",),
        topic="OrderEventTopic",
    ),
    Channel(
        "AccountTopic",
        Kind.TOPIC,
        "How each customer's account stands, for whoever keeps a copy.",
        (ACCOUNT,),
        senders=("ledger_publisher",),
    ),
    Channel(
        "StockTopic",
        Kind.TOPIC,
        "How each product's stock stands, for whoever keeps a copy.",
        (STOCK,),
        senders=("ledger_publisher",),
    ),
    Channel(
        "SocketApi",
        Kind.SOCKET,
        "What a client subscribes to, and the events that it gets. docs/reference/websocket.md describes it.",
        EVENTS,
        senders=("socket_pusher",),
        receivers=("socket_api",),
        asked=(SUBSCRIBE,),
        answers=(SUBSCRIBED, REFUSED),
    ),
)
