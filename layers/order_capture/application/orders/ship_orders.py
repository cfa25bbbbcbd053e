"""Ship orders: settle what is held for each confirmed order, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from operator import attrgetter

from order_capture.application.batches import process_groups
from order_capture.application.messages import ShipOrder
from order_capture.application.ports import (
    MAX_ATTEMPTS,
    Backoff,
    Clock,
    HasTimeLeft,
    SettleRefusedError,
    ShipmentRepository,
)
from order_capture.domain.errors import LedgerInconsistencyError, TransientError
from order_capture.domain.order import OrderDetails, OrderStatus

logger = logging.getLogger(__name__)

# A DynamoDB transaction takes 100 items. An order of one product is 3 of them (the order, its account,
# its product), the largest 52, so a batch of ten small orders settles in one write.
MAX_WRITES = 100


def ship_orders(
    shipments: ShipmentRepository,
    messages: Sequence[ShipOrder],
    clock: Clock,
    backoff: Backoff,
    has_time_left: HasTimeLeft = lambda: True,
) -> set[str]:
    """Settle every order of a batch, as many as possible in one write.

    Returns:
        The ids of the orders that must be tried again: their messages go back to the queue.
    """

    def settle(group: Sequence[OrderDetails]) -> set[str]:
        return _settle(shipments, group, clock, backoff)

    failed: set[str] = set()
    groups = _groups({message.details.order_id: message.details for message in messages}.values())
    process_groups(failed, groups, attrgetter("order_id"), settle, has_time_left)
    return failed


def _groups(orders: Iterable[OrderDetails]) -> list[list[OrderDetails]]:
    """Orders that are settled together: as many as fit in one transaction."""
    groups: list[list[OrderDetails]] = []
    room = 0
    for details in orders:
        writes = 2 + len(details.items)
        if writes > room:
            groups.append([])
            room = MAX_WRITES
        groups[-1].append(details)
        room -= writes
    return groups


def _settle(
    shipments: ShipmentRepository, group: Sequence[OrderDetails], clock: Clock, backoff: Backoff
) -> set[str]:
    confirmed = {details.order_id: details for details in group}
    failed: set[str] = set()
    for tries in range(1, MAX_ATTEMPTS + 1):
        try:
            shipments.settle(list(confirmed.values()), clock())
            return failed
        except SettleRefusedError as refusal:
            for order_id, status in refusal.not_confirmed.items():
                del confirmed[order_id]
                if status is None or status is OrderStatus.PENDING:
                    logger.error("asked to ship an order that is %s", status, extra={"order_id": order_id})
                    failed.add(order_id)
                # Otherwise it was shipped before, or cancelled since: nothing is left to do.
            if not confirmed:
                return failed
            if refusal.short:
                raise LedgerInconsistencyError(
                    f"the ledgers hold less than is to be settled for {', '.join(confirmed)}"
                ) from refusal
            if refusal.conflict:
                backoff(tries)
    raise TransientError("ledgers too busy")
