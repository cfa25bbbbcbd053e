"""history_projector: writes the history of both ledgers, in order, from their streams."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.domain.history import HistoryRecord
from order_capture.entrypoints.history_streams import history_stream_handler


def work(key: str, lines: Sequence[HistoryRecord]) -> None:
    """Write the lines of one ledger."""
    bootstrap.history(key).put(lines)


handler = history_stream_handler(work)
