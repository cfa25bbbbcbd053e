"""Publish balance states from a ledger's changes, for consumers that keep a copy of accounts or stock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from order_capture.application.messages import BalanceState
from order_capture.application.ports import StatePublisher


@dataclass(frozen=True, slots=True)
class PublishBalanceStates:
    """Publish the latest state of each customer or product."""

    publisher: StatePublisher

    def publish(self, states: Sequence[BalanceState]) -> None:
        """Send the latest state of each customer or product, by version.

        Those in between need no message: a copy keeps the highest version. A hot product that changes a
        hundred times is one message.

        Raises:
            TransientError: not all could be sent; all may be sent again, since a version shows what is old.
            RejectedMessagesError: some never can be; all the others are sent.
        """
        latest: dict[str, BalanceState] = {}
        for state in states:
            known = latest.get(state.entity)
            if known is None or known.head.version < state.head.version:
                latest[state.entity] = state
        self.publisher.send_all(list(latest.values()))
