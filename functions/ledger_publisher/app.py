"""ledger_publisher: follows the account and the stock table, and tells how customers and products stand."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.adapters import wiring
from order_capture.adapters.streams import ledger_stream_handler
from order_capture.application.messages import EntityState
from order_capture.application.publish_states import publish_states


def work(states: Sequence[EntityState]) -> None:
    """Publish the last state of each customer or product."""
    # A batch is of one table's stream.
    publish_states(wiring.followers(states[0].kind.check, "ledger_publisher"), states)


handler = ledger_stream_handler(work)
