"""Cancel an order before it ships, and have its holds released."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from order_capture.application.callers import Caller
from order_capture.application.idempotency import Answered, RequestKey, once
from order_capture.application.messages import ReleaseOrder
from order_capture.application.orders.update_with_retry import update_with_retry
from order_capture.application.ports import Clock, MessagePublisher, OrderRepository
from order_capture.application.retry import Retry
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import Order

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel an order at its client's request, and publish its release to both checkers."""

    orders: OrderRepository
    releases: MessagePublisher
    clock: Clock
    retry: Retry

    def cancel(self, order_id: str, caller: Caller, key: RequestKey | None = None) -> Answered[Order]:
        """Cancel a pending or confirmed order. The order's status decides between shipping and cancelling.

        Raises:
            IdempotencyConflictError: the key was used with a different request.
            NotFoundError: the caller can access no such order.
            StatusConflictError: it has shipped, or has already ended.
            TransientError: too many other requests are changing it.
        """

        def step(order: Order) -> Order:
            if not caller.can_access(order.details.customer_id):
                raise NotFoundError("There is no such order.")
            return order.cancel(now=self.clock())

        def act() -> Order:
            return update_with_retry(self.orders, self.retry, order_id, self.orders.get(order_id), step, key)

        answered = once(key, self.orders.first_answer, act)
        order = answered.value
        if not answered.replayed and self.releases.send(
            [ReleaseOrder.of(order.details, order.correlation_id)]
        ):
            # The order is cancelled in any case: the watchdog finds it, and sends the release.
            logger.warning("release not sent yet", extra={"order_id": order_id})
        return answered
