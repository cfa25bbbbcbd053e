"""What happens to an order, as facts for others: one for each status that it comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from order_capture.domain.order import Order, OrderDetails, OrderStatus


class OrderEventType(StrEnum):
    """A fact about an order, in the past tense."""

    PLACED = "order.placed"
    CONFIRMED = "order.confirmed"
    REJECTED = "order.rejected"
    SHIPPED = "order.shipped"
    CANCELLED = "order.cancelled"
    EXPIRED = "order.expired"


_TYPES = {
    status: OrderEventType.PLACED if status is OrderStatus.PENDING else OrderEventType[status.name]
    for status in OrderStatus
}
_STATUSES = {kind: status for status, kind in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """The order as it stood when it came to its status.

    `sequence` counts the order's events from 1, without a gap: a consumer that gets them late, twice or out
    of order can tell.
    """

    type: OrderEventType
    sequence: int
    order: Order

    @property
    def time(self) -> str:
        """When the order came to its status.

        Not always when it was last changed: of two answers that are written at once, the first may decide.
        """
        return next(
            (m.time for m in status_changes(self.order.logs) if m.type is self.type), self.order.update_time
        )


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One of the things that happened to an order: when and, if a check refused it, its code for why."""

    type: OrderEventType
    sequence: int
    time: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OrderEventSummary:
    """An event as those read it who follow along: what happened to which order."""

    event_id: str
    moment: StatusChange
    details: OrderDetails


def status_changes(logs: Sequence[str]) -> list[StatusChange]:
    """The whole of an order's life, as its log lines tell it: the events that it has had, in order."""
    return [moment for _, moment in _infer_changes(logs)]


def _infer_changes(logs: Sequence[str]) -> Iterator[tuple[int, StatusChange]]:
    """Each moment of an order's life, with the number of lines that there were by then, its own the last."""
    sequence = 0
    for number, line in enumerate(logs, start=1):
        if match := _MOMENT.fullmatch(line):
            sequence += 1
            time, reason, what = match.groups()
            kind = OrderEventType.REJECTED if reason else _LINES[what]
            yield number, StatusChange(kind, sequence, time, reason)


# The first words of the lines that `Order` writes as it moves on; the lines of the checks begin otherwise.
_LINES = {
    "order received": OrderEventType.PLACED,
    "confirmed": OrderEventType.CONFIRMED,
    "shipped": OrderEventType.SHIPPED,
    "cancelled": OrderEventType.CANCELLED,
    "expired": OrderEventType.EXPIRED,
}
_MOMENT = re.compile(rf"(\S+) (?:rejected: (\w+)|({'|'.join(_LINES)})(?:: .*)?)")


def event_of(before: Order | None, after: Order) -> OrderEvent | None:
    """The event that a change of an order is; None if its status stayed. `before` is None for a new order."""
    if before is not None and before.status is after.status:
        return None
    # A status has one way to it but for CANCELLED, which comes second or third.
    if before is None:
        sequence = 1
    elif before.status is OrderStatus.PENDING:
        sequence = 2
    else:
        sequence = 3
    return OrderEvent(_TYPES[after.status], sequence, after)


def events_of(order: Order) -> list[OrderEvent]:
    """All the events that an order has had, each with the order as it stood then, by what its log tells.

    They are those that `event_of` made of its changes. Only where two answers were written at once and the
    first decided, the second was in the event already, and is not in it here.
    """
    events: list[OrderEvent] = []
    for number, moment in _infer_changes(order.logs):
        lines = order.logs[:number]
        answered = {line.partition(" ")[2].partition(" ")[0] for line in lines}
        then = replace(
            order,
            status=_STATUSES[moment.type],
            checks={check: each for check, each in order.checks.items() if check.lower() in answered},
            logs=lines,
            update_time=moment.time,
        )
        events.append(OrderEvent(moment.type, moment.sequence, then))
    return events
