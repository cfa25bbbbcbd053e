"""order_update: decides orders by what the checks answer, and sends on what follows."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import wiring
from order_capture.adapters.invocations import in_time
from order_capture.adapters.queues import queue_handler
from order_capture.adapters.runtime import clock, pause
from order_capture.application.decide_orders import decide_orders
from order_capture.application.messages import OrderChecked

SOURCE = "order_update"


def work(messages: Sequence[OrderChecked]) -> set[str]:
    """Take in each answer: confirmed orders go on to shipping, refused ones back to the checkers."""
    shipping, checkers = wiring.shipping(SOURCE), wiring.checkers(SOURCE)
    return decide_orders(wiring.orders(), shipping, checkers, messages, clock, pause, in_time)


handler = queue_handler(work, OrderChecked)
