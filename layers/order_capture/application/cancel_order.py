"""Cancel an order: call it off before it ships, and have what it holds released."""

from __future__ import annotations

import logging

from order_capture.application.callers import Caller
from order_capture.application.change_order import change_order
from order_capture.application.idempotency import Answered, RequestKey, once
from order_capture.application.messages import ReleaseOrder
from order_capture.application.ports import Clock, Orders, Outbox, Pause
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

logger = logging.getLogger(__name__)


def cancel_order(
    orders: Orders,
    checkers: Outbox,
    order_id: str,
    caller: Caller,
    clock: Clock,
    pause: Pause,
    key: RequestKey | None = None,
) -> Answered[Order]:
    """Cancel a pending or confirmed order. Shipping and cancelling meet at its status: one of them wins.

    Raises:
        KeyReusedError: the key came with another request before.
        NotFoundError: there is no such order that the caller reaches.
        StatusConflictError: it has shipped, or is over already.
        TemporaryError: too many others change it at this moment.
    """

    def cancelled(order: Order) -> Order:
        if not caller.reaches(order.terms.customer_id):
            raise NotFoundError("There is no such order.")
        return order.cancel(now=clock())

    def act() -> Order:
        return change_order(orders, order_id, orders.get(order_id), cancelled, pause, key)

    answered = once(key, orders.first_answer, act)
    order = answered.value
    if not answered.replayed and checkers.send([ReleaseOrder(order.terms, order.correlation_id)]):
        # It is cancelled all the same: the watchdog finds it so, and sends the release.
        logger.warning("release not sent yet", extra={"order_id": order_id})
    return answered
