"""Update an order over the version that was read; retry if another write came first."""

from __future__ import annotations

from collections.abc import Callable

from order_capture.application.idempotency import RequestKey
from order_capture.application.ports import OrderRepository, VersionConflictError
from order_capture.application.retry import Retry
from order_capture.domain.errors import NotFoundError, TransientError
from order_capture.domain.order import Order


def update_with_retry(
    orders: OrderRepository,
    retry: Retry,
    order_id: str,
    order: Order | None,
    step: Callable[[Order], Order],
    key: RequestKey | None = None,
) -> Order:
    """Save the order after `step`, and return it. `order` is as it was read; `step` may return it unchanged.

    With a `key`, the saved order is also the key's first answer.

    Raises:
        NotFoundError: there is no such order.
        RequestInProgressError: the key already has a first answer.
        TransientError: too many other requests are changing it.
    """
    changed: Order | None = None
    for attempt in retry:
        if order is None:
            raise NotFoundError("There is no such order.")
        # A save whose response was lost is refused when botocore retries it: the stored order is then our
        # own. (A save with a key is a transaction, which DynamoDB recognises by the token that botocore
        # adds.)
        if order == changed and key is None:
            return order
        changed = step(order)
        if changed is order:
            return order
        try:
            orders.save(changed, expected_version=order.version, key=key)
            return changed
        except VersionConflictError:
            attempt.back_off()
            order = orders.get(order_id)
    raise TransientError("The order is changing at this moment. Send the same request again.")
