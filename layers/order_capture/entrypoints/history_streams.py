"""Handle batches of the ledgers' streams for the history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from order_capture.adapters.dynamodb.history_repository import record_from_images
from order_capture.domain.history import HistoryRecord
from order_capture.entrypoints.dynamodb_streams import StreamHandler, handler_of


def history_stream_handler(work: Callable[[str, Sequence[HistoryRecord]], None]) -> StreamHandler:
    """The Lambda handler of the ledgers' streams: `work` gets the lines of one ledger, with the name of its
    key."""

    def of_each_ledger(found: Sequence[tuple[str, HistoryRecord]]) -> None:
        lines: dict[str, list[HistoryRecord]] = {}
        for key, line in found:
            lines.setdefault(key, []).append(line)
        for key, of_one in lines.items():
            work(key, of_one)

    return handler_of(_line, of_each_ledger)


def _line(images: Mapping[str, Any]) -> tuple[str, HistoryRecord] | None:
    """The name of the ledger's key, and the history line of a write; None if it has none."""
    (key,) = images["Keys"].keys() - {"entry"}
    line = record_from_images(key, images)
    return None if line is None else (key, line)
