"""Ship orders: settle the holds of each confirmed order, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from order_capture.application.batches import MAX_ITEMS, process_groups
from order_capture.application.messages import ShipOrder
from order_capture.application.ports import Clock, SettleRefusedError, Shipment, ShipmentRepository
from order_capture.application.retry import Retry
from order_capture.domain.errors import LedgerInconsistencyError
from order_capture.domain.order import OrderDetails, OrderStatus
from order_capture.domain.stripes import is_stripe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShipOrders:
    """Settle confirmed orders, about ten in one write.

    An order of one product is 3 items (the order, its account, its product); the largest, 52, is alone.
    """

    shipments: ShipmentRepository
    clock: Clock
    retry: Retry

    def process(self, messages: Sequence[ShipOrder]) -> set[str]:
        """Settle every order of a batch.

        Returns:
            The ids of the orders that must be retried: their messages go back to the queue.
        """
        failed: set[str] = set()
        orders = list({message.details.order_id: message.details for message in messages}.values())

        def ship(orders: Sequence[OrderDetails]) -> set[str]:
            shipments = self.shipments.held(orders)
            not_held = {details.order_id for details in orders} - set(map(_order_id, shipments))
            if not_held:
                logger.error("the ledgers hold nothing for them", extra={"order_ids": sorted(not_held)})
            return not_held | self._settle_all(self._groups(shipments))

        process_groups(failed, [orders], attrgetter("order_id"), ship, self.retry.has_time_left)
        return failed

    def _settle_all(self, groups: Sequence[list[Shipment]]) -> set[str]:
        """Settle each group in one write. Returns the ids of the orders that must be retried.

        A group that conflicts with another write is retried after the other groups, so that no group waits
        for one head while another head is free.
        """
        failed: set[str] = set()
        for attempt in self.retry:
            in_the_way: list[list[Shipment]] = []
            settle = partial(self._settle, in_the_way=in_the_way)
            process_groups(failed, groups, _order_id, settle, self.retry.has_time_left)
            if not in_the_way:
                return failed
            groups = in_the_way
            attempt.back_off()
        left = {_order_id(shipment) for group in groups for shipment in group}
        logger.warning("returned to the queue: too many other writes", extra={"order_ids": sorted(left)})
        return failed | left

    def _groups(self, shipments: Iterable[Shipment]) -> list[list[Shipment]]:
        """Orders that are settled together.

        Orders that are held on a stripe are grouped by stripe: each further item of a write is one more that
        may be in another write, for which the whole write is refused.
        """
        groups: dict[tuple[str, ...], list[list[Shipment]]] = {}
        room: dict[tuple[str, ...], int] = {}
        for shipment in shipments:
            heads = [*shipment.account, *shipment.stock]
            lane = tuple(sorted(filter(is_stripe, heads)))
            items = 1 + len(heads)
            if items > room.get(lane, 0):
                groups.setdefault(lane, []).append([])
                room[lane] = MAX_ITEMS
            groups[lane][-1].append(shipment)
            room[lane] -= items
        return [group for lane in groups.values() for group in lane]

    def _settle(self, group: Sequence[Shipment], in_the_way: list[list[Shipment]]) -> set[str]:
        """Settle a group in one write; if that conflicts with another write, add it to `in_the_way`.

        Returns:
            The ids of the orders that can't be shipped.
        """
        confirmed = {_order_id(shipment): shipment for shipment in group}
        failed: set[str] = set()
        while confirmed:
            try:
                self.shipments.settle(list(confirmed.values()), self.clock())
                return failed
            except SettleRefusedError as refusal:
                for order_id, status in refusal.not_confirmed.items():
                    del confirmed[order_id]
                    if status is None or status is OrderStatus.PENDING:
                        logger.error("can't ship an order that is %s", status, extra={"order_id": order_id})
                        failed.add(order_id)
                    # Otherwise it was already shipped, or cancelled meanwhile: there is nothing to do.
                if confirmed and refusal.short:
                    raise LedgerInconsistencyError(
                        f"the ledgers hold less than is to be settled for {', '.join(confirmed)}"
                    ) from refusal
                if confirmed and not refusal.not_confirmed:
                    in_the_way.append(list(confirmed.values()))
                    return failed
        return failed


def _order_id(shipment: Shipment) -> str:
    return shipment.details.order_id
