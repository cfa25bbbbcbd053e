"""The queues, topics and streams of the pipeline: their consumers and message types.

template.yaml has them as resources (`order_update`: OrderUpdateQueue, OrderUpdateDlq, OrderUpdateFunction); a
test compares the two.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from order_capture.domain.errors import NotFoundError
from order_capture.domain.events import OrderEventType


class ChannelKind(StrEnum):
    """The kind of a dead letter's source. A stream's dead letters are not messages, and can't be redriven."""

    QUEUE = "queue"
    TOPIC = "topic"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Channel:
    """A queue, topic or stream of the pipeline."""

    name: str
    kind: ChannelKind
    function: str = ""
    """The function that it feeds; none for a topic, which feeds queues."""
    types: Collection[str] = ()
    """The types of its messages."""
    redrives_to: tuple[str, ...] = ()
    """The queues that its dead letters go back to. A message that SNS could not deliver does not name its
    subscriber, so all of them get it. This is harmless, since every subscriber is idempotent."""
    own_dead_letters: bool = True
    """Whether it has its own dead-letter queue."""

    @property
    def resource(self) -> str:
        """Its name in template.yaml: OrderUpdate for order_update."""
        return resource_name(self.name)

    @property
    def redrivable(self) -> bool:
        """Whether its dead letters can go back to a queue."""
        return bool(self.redrives_to)


def resource_name(name: str) -> str:
    """The name of a queue or function in template.yaml."""
    return "".join(word.capitalize() for word in name.split("_"))


def _queue(name: str, types: Collection[str], function: str = "") -> Channel:
    return Channel(name, ChannelKind.QUEUE, function or name, types, redrives_to=(name,))


_CHECKS = ("order.check", "order.release")
_EVENTS = tuple(map(str, OrderEventType))

CHANNELS = (
    _queue("balance_checker", _CHECKS),
    _queue("stock_checker", _CHECKS),
    _queue("order_update", ("order.checked",)),
    _queue("ship_order", ("order.ship",)),
    _queue("order_watch", ("order.watch",), "order_watchdog"),
    _queue("webhook_dispatcher", _EVENTS),
    _queue("webhook_sender", ("webhook.deliver",)),
    # Its dead letters are in webhook_sender's queue.
    Channel(
        "webhook_slow", ChannelKind.QUEUE, "webhook_sender", ("webhook.deliver",), own_dead_letters=False
    ),
    _queue("socket_pusher", _EVENTS),
    _queue("report", _EVENTS, "report_projector"),
    Channel("order_topic", ChannelKind.TOPIC, "", _CHECKS, ("balance_checker", "stock_checker")),
    Channel(
        "order_event_topic",
        ChannelKind.TOPIC,
        "",
        _EVENTS,
        ("webhook_dispatcher", "socket_pusher", "report"),
    ),
    Channel("change_publisher", ChannelKind.STREAM, "change_publisher"),
    Channel("ledger_publisher", ChannelKind.STREAM, "ledger_publisher"),
    Channel("history_projector", ChannelKind.STREAM, "history_projector"),
)
"""All channels, in the order in which an order passes them."""


def channel(name: str) -> Channel:
    """The channel of that name that has dead letters.

    Raises:
        NotFoundError: there is no such channel.
    """
    known = {each.name: each for each in CHANNELS if each.own_dead_letters}
    if name not in known:
        raise NotFoundError(f"There is no such queue. There are: {', '.join(known)}.")
    return known[name]
