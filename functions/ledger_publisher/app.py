"""ledger_publisher: publishes the balances of customers and products from both ledgers' streams."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.application.messages import BalanceState
from order_capture.entrypoints.dynamodb_streams import ledger_stream_handler


def process(states: Sequence[BalanceState]) -> None:
    """Publish the latest state of each customer or product; a batch is of one ledger's stream."""
    bootstrap.publish_balance_states(states[0].kind).publish(states)


handler = ledger_stream_handler(process)
