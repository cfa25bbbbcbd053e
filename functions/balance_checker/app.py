"""balance_checker: holds the customer's money for an order, or gives it back."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.adapters.system import backoff, clock
from order_capture.application.ledger.check_orders import check_orders
from order_capture.application.messages import CheckOrder, ReleaseOrder
from order_capture.domain.ledger import ACCOUNTS
from order_capture.entrypoints.invocations import has_time_left
from order_capture.entrypoints.sqs import queue_handler


def work(messages: Sequence[CheckOrder | ReleaseOrder]) -> set[str]:
    """Hold or release for each order, and answer."""
    return check_orders(
        ACCOUNTS,
        bootstrap.accounts(),
        bootstrap.check_result_publisher("balance_checker"),
        messages,
        clock,
        backoff,
        has_time_left,
    )


handler = queue_handler(work, CheckOrder, ReleaseOrder)
