"""Batches of the ledgers' streams in, for their history. As with orders, a batch is done as a whole or comes
again as a whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from order_capture.adapters import logs
from order_capture.adapters.dynamodb_history import line_of
from order_capture.domain.history import Line

logger = logging.getLogger(__name__)


def history_stream_handler(
    work: Callable[[str, Sequence[Line]], None],
) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """The Lambda handler of the ledgers' streams: `work` is given the lines of one ledger, by the name of its
    key.

    It raises what `work` raises: the batch comes again, for as long as the stream keeps it.
    """

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        logs.configure()
        lines: dict[str, list[Line]] = {}
        for record in event["Records"]:
            images = record["dynamodb"]
            (key,) = images["Keys"].keys() - {"entry"}
            if line := line_of(key, images):
                lines.setdefault(key, []).append(line)
        for key, of_one in lines.items():
            work(key, of_one)
        logger.info("handled %d changes", sum(map(len, lines.values())))
        return {}

    return handler
