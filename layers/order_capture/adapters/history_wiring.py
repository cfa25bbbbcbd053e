"""Which adapter stands behind the port of the history. Apart from `wiring`: most functions know none."""

from __future__ import annotations

from order_capture.adapters.dynamodb_history import DynamoHistory
from order_capture.adapters.runtime import client, pause, setting


def history(key: str) -> DynamoHistory:
    """The history of the ledger whose table has that partition key."""
    return DynamoHistory(client("dynamodb"), setting("HISTORY_TABLE"), key, pause)
