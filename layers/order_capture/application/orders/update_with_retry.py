"""Change an order over the version of it that was read; again if somebody else was quicker."""

from __future__ import annotations

from collections.abc import Callable

from order_capture.application.idempotency import RequestKey
from order_capture.application.ports import MAX_ATTEMPTS, Backoff, OrderRepository, VersionConflictError
from order_capture.domain.errors import NotFoundError, TransientError
from order_capture.domain.order import Order


def update_with_retry(
    orders: OrderRepository,
    order_id: str,
    order: Order | None,
    step: Callable[[Order], Order],
    backoff: Backoff,
    key: RequestKey | None = None,
) -> Order:
    """The order after `step`, written down. `order` is how it was read; `step` may leave it as it is.

    With a `key`, what is written is its first answer as well.

    Raises:
        NotFoundError: there is no such order.
        RequestRunningError: the key has a first answer.
        TemporaryError: too many others change it at this moment.
    """
    changed: Order | None = None
    for tries in range(1, MAX_ATTEMPTS + 1):
        if order is None:
            raise NotFoundError("There is no such order.")
        # A save whose answer was lost is refused when it is sent again: what is there is then our own. (One
        # with a key is a transaction, and DynamoDB knows that by the token that botocore gives it.)
        if order == changed and key is None:
            return order
        changed = step(order)
        if changed is order:
            return order
        try:
            orders.save(changed, expected_version=order.version, key=key)
            return changed
        except VersionConflictError:
            backoff(tries)
            order = orders.get(order_id)
    raise TransientError("The order is changing at this moment. Send the same request again.")
