"""List dead letters with their reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.channels import Channel, ChannelKind
from order_capture.application.operations.ports import DeadLetter, FunctionLogs, QueueRepository
from order_capture.application.ports import OrderRepository
from order_capture.application.retry import HasTimeLeft
from order_capture.domain.order import OrderStatus


@dataclass(frozen=True, slots=True)
class DiagnosedDeadLetter:
    """A dead letter, its reason, and the state of its order."""

    message: DeadLetter
    reason: str
    order_status: OrderStatus | None

    @property
    def readable(self) -> bool:
        """Whether its function can read it, so that it may succeed after a redrive."""
        return self.message.rejection is None


@dataclass(frozen=True, slots=True)
class DeadLetterList:
    """The approximate number of dead letters, and some of them."""

    channel: Channel
    count: int
    messages: Sequence[DiagnosedDeadLetter]


@dataclass(frozen=True, slots=True)
class ListDeadLetters:
    """Read dead letters, and leave them in their queue."""

    queues: QueueRepository
    orders: OrderRepository
    logs: FunctionLogs
    has_time_left: HasTimeLeft

    def list(self, channel: Channel, limit: int) -> DeadLetterList:
        """Return at most `limit` dead letters of a channel."""
        count = self.queues.count(channel)
        messages = self.queues.dead_letters(channel, limit)
        orders = self.orders.get_many({each.order_id for each in messages if each.order_id})
        found = []
        for message in messages:
            order = orders.get(message.order_id or "")
            status = order.status if order else None
            found.append(
                DiagnosedDeadLetter(message, message.rejection or self._logged(channel, message), status)
            )
        return DeadLetterList(channel, max(count, len(messages)), found)

    def _logged(self, channel: Channel, message: DeadLetter) -> str:
        """The log message of a function about a message that it can read, but could not process."""
        if channel.kind is ChannelKind.TOPIC:
            return "SNS could not deliver it to a queue"
        if not self.has_time_left():
            return f"see the log of {channel.function}"
        ids = [message.message_id, *filter(None, [message.order_id])]
        logged = self.logs.last_problem(channel.function, ids, message.age)
        if logged is None:
            return f"{channel.function} logged nothing about it: it may have timed out"
        return f"{channel.function}: {logged}"
