"""ledger_publisher: follows the account and the stock table, and tells how customers and products stand."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.application.ledger.publish_balance_states import publish_balance_states
from order_capture.application.messages import BalanceState
from order_capture.entrypoints.dynamodb_streams import ledger_stream_handler


def work(states: Sequence[BalanceState]) -> None:
    """Publish the last state of each customer or product."""
    # A batch is of one table's stream.
    publish_balance_states(
        bootstrap.balance_state_publisher(states[0].kind.check, "ledger_publisher"), states
    )


handler = ledger_stream_handler(work)
