"""Cancel an order: call it off before it ships, and have what it holds released."""

from __future__ import annotations

import logging

from order_capture.application.callers import Caller
from order_capture.application.idempotency import Answered, RequestKey, once
from order_capture.application.messages import ReleaseOrder
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Backoff, Clock, MessagePublisher, OrderRepository
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

logger = logging.getLogger(__name__)


def cancel_order(
    orders: OrderRepository,
    checkers: MessagePublisher,
    order_id: str,
    caller: Caller,
    clock: Clock,
    backoff: Backoff,
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
        if not caller.can_access(order.details.customer_id):
            raise NotFoundError("There is no such order.")
        return order.cancel(now=clock())

    def act() -> Order:
        return update_with_retry(orders, order_id, orders.get(order_id), cancelled, backoff, key)

    answered = once(key, orders.first_answer, act)
    order = answered.value
    if not answered.replayed and checkers.send([ReleaseOrder(order.details, order.correlation_id)]):
        # It is cancelled all the same: the watchdog finds it so, and sends the release.
        logger.warning("release not sent yet", extra={"order_id": order_id})
    return answered
