"""balance_checker: holds the customer's money for an order, or releases it."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.application.messages import CheckOrder, ReleaseOrder
from order_capture.domain.ledger import ACCOUNTS


def process(messages: Sequence[CheckOrder | ReleaseOrder]) -> set[str]:
    """Hold or release for each order, and publish the results."""
    return bootstrap.check_orders(ACCOUNTS).process(messages)


handler = queue_handler(process, CheckOrder, ReleaseOrder, retry_soon=True)
