"""Publish states: whoever keeps a copy of accounts or stock is told how they stand."""

from __future__ import annotations

from collections.abc import Sequence

from order_capture.application.messages import BalanceState
from order_capture.application.ports import StatePublisher


def publish_balance_states(followers: StatePublisher, states: Sequence[BalanceState]) -> None:
    """Send the last state of each customer or product, by version.

    Those in between need not be told: a copy keeps the highest version, and is none the wiser for others. A
    hot product that moves a hundred times is one message.

    Raises:
        TemporaryError: not all could be sent; all may be sent again, since a version says what is old.
        RefusedMessagesError: some never can be; all the others are sent.
    """
    latest: dict[str, BalanceState] = {}
    for state in states:
        known = latest.get(state.entity)
        if known is None or known.head.version < state.head.version:
            latest[state.entity] = state
    followers.send_all(list(latest.values()))
