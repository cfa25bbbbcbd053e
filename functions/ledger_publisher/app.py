"""ledger_publisher: publishes the balances of customers and products from both ledgers' streams."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture import bootstrap
from order_capture.application.messages import BalanceState
from order_capture.domain.ledger import ACCOUNTS
from order_capture.entrypoints.dynamodb_streams import ledger_stream_handler


def process(states: Sequence[BalanceState]) -> None:
    """Publish the latest state of each customer or product; a batch is of one ledger's stream."""
    kind = states[0].kind if states else ACCOUNTS  # a smoke test has no states
    bootstrap.publish_balance_states(kind).publish(states)


handler = ledger_stream_handler(process)
