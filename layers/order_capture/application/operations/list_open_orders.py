"""List the orders that have been open too long, and what each of them waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from order_capture.application.channels import CHANNELS
from order_capture.application.operations.ports import QueueRepository
from order_capture.application.ports import Clock, LedgerRepository, OrderCursor, OrderRepository
from order_capture.application.retry import HasTimeLeft
from order_capture.domain.ledger import Hold
from order_capture.domain.order import CheckType, Order, OrderStatus

MAX_DEAD_LETTERS = 100  # to search in each queue for those of an order; usually there are none


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order without a terminal status, its age in seconds, and what it waits for."""

    order: Order
    age: float
    waits_for: Sequence[str]
    dead_letters: Sequence[str]
    """The names of the queues that have a dead letter of the order."""


@dataclass(frozen=True, slots=True)
class OpenOrderPage:
    """A page of open orders, and where the next page begins; None if there are no more."""

    orders: Sequence[OpenOrder]
    next: OrderCursor | None


@dataclass(frozen=True, slots=True)
class ListOpenOrders:
    """Read the orders that were open when the watchdog first checked them, and still are.

    Orders that it has not checked yet were placed within the last minute, and are still in progress.
    """

    orders: OrderRepository
    ledgers: Mapping[CheckType, LedgerRepository]
    queues: QueueRepository
    clock: Clock
    has_time_left: HasTimeLeft

    def list_page(self, after: OrderCursor | None, limit: int) -> OpenOrderPage:
        """Return the next page, oldest first. An order that was shipped a moment ago may be missing."""
        # One more than a page holds, to see whether there is another page.
        cursors = self.orders.list_open(after, limit + 1)
        page, more = cursors[:limit], len(cursors) > limit
        by_id = self.orders.get_many([cursor.order_id for cursor in page])
        orders = [
            order for cursor in page if (order := by_id.get(cursor.order_id)) is not None and order.is_open
        ]
        pending = [order.order_id for order in orders if order.status is OrderStatus.PENDING]
        holds = {check: ledger.holds(pending) for check, ledger in self.ledgers.items()} if pending else {}
        dead = self._dead_letters() if orders else {}
        now = datetime.fromisoformat(self.clock())
        found = [
            OpenOrder(
                order,
                (now - datetime.fromisoformat(order.create_time)).total_seconds(),
                [*waits_for(order, {check: held.get(order.order_id) for check, held in holds.items()})],
                sorted(dead.get(order.order_id, set())),
            )
            for order in orders
        ]
        return OpenOrderPage(found, page[-1] if more else None)

    def _dead_letters(self) -> dict[str, set[str]]:
        """The queues that have a dead letter of an order, by the order's id."""
        found: dict[str, set[str]] = {}
        for channel in CHANNELS:
            # The count lags by at most a minute, and a dead letter is kept for fourteen days.
            if channel.redrivable and channel.own_dead_letters and self.has_time_left():
                if not self.queues.count(channel):
                    continue
                for message in self.queues.dead_letters(channel, MAX_DEAD_LETTERS):
                    if message.order_id:
                        found.setdefault(message.order_id, set()).add(channel.name)
        return found


def waits_for(order: Order, holds: Mapping[CheckType, Hold | None]) -> Iterable[str]:
    """Describe what an open order waits for; `holds` are the decisions of its checks."""
    if order.status is OrderStatus.CONFIRMED:
        yield "shipping"
        return
    undecided = {check: hold for check, hold in holds.items() if check not in order.checks}
    for check, hold in undecided.items():
        if hold is None:
            yield f"{check.lower()} check: not done yet"
        # One check's hold is recorded only together with the other's.
        elif not hold.is_held or None not in undecided.values():
            yield f"{check.lower()} check: done ({hold.decision.outcome}), its result is not recorded yet"
