"""Cancel an order: call it off before it ships, and have what it holds released."""

from __future__ import annotations

import logging

from order_capture.application.callers import Caller
from order_capture.application.messages import ReleaseOrder
from order_capture.application.ports import TRIES, Clock, Orders, Outbox, Pause, VersionConflictError
from order_capture.domain.errors import NotFoundError, TemporaryError
from order_capture.domain.order import Order

logger = logging.getLogger(__name__)


def cancel_order(
    orders: Orders, checkers: Outbox, order_id: str, caller: Caller, clock: Clock, pause: Pause
) -> Order:
    """Cancel a pending or confirmed order. Shipping and cancelling meet at its status: one of them wins.

    Raises:
        NotFoundError: there is no such order that the caller reaches.
        StatusConflictError: it has shipped, or is over already.
        TemporaryError: too many others change it at this moment.
    """
    cancelled: Order | None = None
    for tries in range(1, TRIES + 1):
        order = orders.get(order_id)
        if order is None or not caller.reaches(order.terms.customer_id):
            raise NotFoundError("There is no such order.")
        # A save whose answer was lost is refused when it is sent again: what is there is then our own.
        if order != cancelled:
            cancelled = order.cancel(now=clock())
            try:
                orders.save(cancelled, over=order.version)
            except VersionConflictError:
                pause(tries)
                continue
        if checkers.send([ReleaseOrder(cancelled.terms, cancelled.correlation_id)]):
            # It is cancelled all the same: the watchdog finds it so, and sends the release.
            logger.warning("release not sent yet", extra={"order_id": order_id})
        return cancelled
    raise TemporaryError("The order is changing at this moment. Send the same request again.")
