"""order_update: decides orders by the results of their checks, and sends the next messages."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.entrypoints.sqs import queue_handler
from order_capture import bootstrap
from order_capture.application.messages import OrderChecked


def process(messages: Sequence[OrderChecked]) -> set[str]:
    """Record each result: confirmed orders are shipped, rejected ones released."""
    return bootstrap.decide_orders().process(messages)


handler = queue_handler(process, OrderChecked, retry_soon=True)
