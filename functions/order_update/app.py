"""order_update: decides orders by what the checks answer, and sends on what follows."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.adapters.system import backoff, clock
from order_capture.application.messages import OrderChecked
from order_capture.application.orders.decide_orders import decide_orders
from order_capture.entrypoints.invocations import has_time_left
from order_capture.entrypoints.sqs import queue_handler

SOURCE = "order_update"


def work(messages: Sequence[OrderChecked]) -> set[str]:
    """Take in each answer: confirmed orders go on to shipping, refused ones back to the checkers."""
    shipping, checkers = bootstrap.shipping_publisher(SOURCE), bootstrap.check_publisher(SOURCE)
    return decide_orders(bootstrap.orders(), shipping, checkers, messages, clock, backoff, has_time_left)


handler = queue_handler(work, OrderChecked)
