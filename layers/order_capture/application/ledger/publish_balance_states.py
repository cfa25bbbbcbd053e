"""Publish balance states from a ledger's changes, for consumers that keep a copy of accounts or stock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from order_capture.application.ledger.get_balance import read_heads
from order_capture.application.messages import BalanceState
from order_capture.application.ports import LedgerRepository, StatePublisher
from order_capture.domain.errors import BalanceMovingError
from order_capture.domain.ledger import LedgerSpec
from order_capture.domain.stripes import entity_of, is_stripe, total


@dataclass(frozen=True, slots=True)
class PublishBalanceStates:
    """Publish the latest state of each customer or product."""

    ledger: LedgerRepository
    publisher: StatePublisher

    def publish(self, states: Sequence[BalanceState]) -> None:
        """Send the latest state of each customer or product, by version.

        Intermediate states need no message: a copy keeps the highest version. A hundred changes of a hot
        product are one message.

        Raises:
            TransientError: not all could be sent; all may be sent again, since a version shows what is old.
            RejectedMessagesError: some can never be sent; all others are sent.
        """
        latest: dict[str, BalanceState] = {}
        divided: dict[str, LedgerSpec] = {}
        for state in states:
            if is_stripe(state.entity) or state.head.stripes:
                divided[entity_of(state.entity)] = state.kind
                continue
            known = latest.get(state.entity)
            if known is None or known.head.version < state.head.version:
                latest[state.entity] = state
        for entity, kind in divided.items():
            latest.pop(entity, None)
            # A later change prevents the read. It will also arrive here, and is published then.
            with suppress(BalanceMovingError):
                if (head := total(entity, read_heads(self.ledger, entity))) is not None:
                    latest[entity] = BalanceState(kind, entity, head)
        self.publisher.send_all(list(latest.values()))
