"""Ship orders: settle what is held for each confirmed order, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from order_capture.application.batches import process_groups
from order_capture.application.messages import ShipOrder
from order_capture.application.ports import Clock, SettleRefusedError, ShipmentRepository
from order_capture.application.retry import Retry
from order_capture.domain.errors import LedgerInconsistencyError, TransientError
from order_capture.domain.order import OrderDetails, OrderStatus

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShipOrders:
    """Settle confirmed orders, as many as fit in one write, which takes `max_items` items.

    An order of one product is 3 items (the order, its account, its product), the largest 52.
    """

    shipments: ShipmentRepository
    max_items: int
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[ShipOrder]) -> set[str]:
        """Settle every order of a batch.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        failed: set[str] = set()
        groups = self._groups({message.details.order_id: message.details for message in messages}.values())
        process_groups(failed, groups, attrgetter("order_id"), self._settle, self.retry.has_time_left)
        return failed

    def _groups(self, orders: Iterable[OrderDetails]) -> list[list[OrderDetails]]:
        """Orders that are settled together: as many as fit in one write."""
        groups: list[list[OrderDetails]] = []
        room = 0
        for details in orders:
            items = 2 + len(details.items)
            if items > room:
                groups.append([])
                room = self.max_items
            groups[-1].append(details)
            room -= items
        return groups

    def _settle(self, group: Sequence[OrderDetails]) -> set[str]:
        """Settle a group in one write. Returns the ids of the orders that must be retried."""
        confirmed = {details.order_id: details for details in group}
        failed: set[str] = set()
        for attempt in self.retry:
            try:
                self.shipments.settle(list(confirmed.values()), self.clock())
                return failed
            except SettleRefusedError as refusal:
                for order_id, status in refusal.not_confirmed.items():
                    del confirmed[order_id]
                    if status is None or status is OrderStatus.PENDING:
                        logger.error("can't ship an order that is %s", status, extra={"order_id": order_id})
                        failed.add(order_id)
                    # Otherwise it was shipped before, or cancelled since: there is nothing to do.
                if not confirmed:
                    return failed
                if refusal.short:
                    raise LedgerInconsistencyError(
                        f"the ledgers hold less than is to be settled for {', '.join(confirmed)}"
                    ) from refusal
                if refusal.conflict:
                    attempt.back_off()
        raise TransientError("too many other writes of the ledgers")
