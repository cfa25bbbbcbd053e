"""DynamoDB stream batches in. A batch is done as a whole or comes again as a whole.

Which of its records failed is not reported: the local engine would lose the others, and a relay that does
nothing twice can as well be run again from the start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from order_capture.adapters import logs

logger = logging.getLogger(__name__)


def stream_handler(
    work: Callable[[Sequence[tuple[str, str]]], None],
) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """The Lambda handler of the order table's stream: `work` is given each new order's id and correlation id.

    It raises what `work` raises: the batch comes again, for as long as the stream keeps it.
    """

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        logs.configure()
        images = [
            record["dynamodb"]["NewImage"] for record in event["Records"] if record["eventName"] == "INSERT"
        ]
        # The record of a request (see `ports.Orders.pin`) is no order.
        placed = [
            (image["orderId"]["S"], image["correlationId"]["S"]) for image in images if "status" in image
        ]
        if placed:
            work(placed)
        logger.info(
            "handled %d new orders", len(placed), extra={"orders": [order_id for order_id, _ in placed]}
        )
        return {}

    return handler
