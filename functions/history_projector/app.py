"""history_projector: follows both ledgers, and writes down what was done in the order in which it was."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import history_wiring
from order_capture.adapters.history_streams import history_stream_handler
from order_capture.domain.history import Line


def work(key: str, lines: Sequence[Line]) -> None:
    """Write the lines of one ledger."""
    history_wiring.history(key).put(lines)


handler = history_stream_handler(work)
