"""stock_checker: holds the products for an order, or gives them back."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import wiring
from order_capture.adapters.invocations import in_time
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock, pause
from order_capture.application.check_orders import check_orders
from order_capture.application.messages import CheckOrder, ReleaseOrder
from order_capture.domain.ledger import STOCK


def work(messages: Sequence[CheckOrder | ReleaseOrder]) -> set[str]:
    """Hold or release for each order, and answer."""
    return check_orders(
        STOCK, wiring.stock(), wiring.order_update("stock_checker"), messages, clock, pause, in_time
    )


handler = queue_handler(work, CheckOrder, ReleaseOrder)
