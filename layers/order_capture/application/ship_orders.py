"""Ship orders: settle what is held for each confirmed order, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from operator import attrgetter

from order_capture.application.batches import each_group
from order_capture.application.messages import ShipOrder
from order_capture.application.ports import TRIES, Clock, InTime, Pause, SettleRefusedError, Shipments
from order_capture.domain.errors import BooksDisagreeError, TemporaryError
from order_capture.domain.order import OrderStatus, OrderTerms

logger = logging.getLogger(__name__)

# A DynamoDB transaction takes 100 items. An order of one product is 3 of them (the order, its account,
# its product), the largest 52, so a batch of ten small orders settles in one write.
MAX_WRITES = 100


def ship_orders(
    shipments: Shipments,
    messages: Sequence[ShipOrder],
    clock: Clock,
    pause: Pause,
    in_time: InTime = lambda: True,
) -> set[str]:
    """Settle every order of a batch, as many as possible in one write.

    Returns:
        The ids of the orders that must be tried again: their messages go back to the queue.
    """

    def settle(group: Sequence[OrderTerms]) -> set[str]:
        return _settle(shipments, group, clock, pause)

    failed: set[str] = set()
    groups = _groups({message.terms.order_id: message.terms for message in messages}.values())
    each_group(failed, groups, attrgetter("order_id"), settle, in_time)
    return failed


def _groups(orders: Iterable[OrderTerms]) -> list[list[OrderTerms]]:
    """Orders that are settled together: as many as fit in one transaction."""
    groups: list[list[OrderTerms]] = []
    room = 0
    for terms in orders:
        writes = 2 + len(terms.items)
        if writes > room:
            groups.append([])
            room = MAX_WRITES
        groups[-1].append(terms)
        room -= writes
    return groups


def _settle(shipments: Shipments, group: Sequence[OrderTerms], clock: Clock, pause: Pause) -> set[str]:
    confirmed = {terms.order_id: terms for terms in group}
    failed: set[str] = set()
    for tries in range(1, TRIES + 1):
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
                raise BooksDisagreeError(
                    f"the ledgers hold less than is to be settled for {', '.join(confirmed)}"
                ) from refusal
            if refusal.conflict:
                pause(tries)
    raise TemporaryError("ledgers too busy")
