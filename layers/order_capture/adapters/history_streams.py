"""Batches of the ledgers' streams in, for their history. As with orders, a batch is done as a whole or comes
again as a whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from order_capture.adapters import logs
from order_capture.adapters.dynamodb_history import line_of
from order_capture.adapters.streams import said_by, set_aside
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
        found, unreadable = said_by(event["Records"], _line)
        for key, line in found:
            lines.setdefault(key, []).append(line)
        for key, of_one in lines.items():
            work(key, of_one)
        set_aside(unreadable)
        logger.info("handled %d changes", sum(map(len, lines.values())))
        return {}

    return handler


def _line(images: Mapping[str, Any]) -> tuple[str, Line] | None:
    """The name of the ledger's key, and the line that a write is in its history; None if it is none."""
    (key,) = images["Keys"].keys() - {"entry"}
    line = line_of(key, images)
    return None if line is None else (key, line)
