"""Publish again how customers and products stand, as ledger_publisher did when it changed.

So that a copy that somebody keeps can be made anew, or put right if something was given up. A state has a
version, and a copy keeps the highest: this can be done at any time, and as often as one likes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from order_capture.adapters.messaging.publishers import BATCH_ENTRIES, EnvelopeFactory, TopicPublisher
from order_capture.adapters.system import backoff, clock, new_id
from order_capture.application.ledger.publish_balance_states import PublishBalanceStates
from order_capture.application.messages import BalanceState
from order_capture.domain.errors import RejectedMessagesError
from order_capture.domain.order import CheckType
from order_capture_ops.stack import Stack
from order_capture_ops.stuck import Tick
from order_capture_ops.tables import UNREADABLE, LedgerTable, read_head

TOPICS = {CheckType.BALANCE: "AccountTopicArn", CheckType.STOCK: "StockTopicArn"}
"""The outputs of the stack that name them."""


T = TypeVar("T")


@dataclass
class Republished:
    """What was published of one ledger, or would have been."""

    states: int = 0
    deleted: int = 0
    """How many of the states are tombstones."""
    unreadable: list[str] = field(default_factory=list)
    """Whose head is not as the functions write it: `audit` says more."""
    refused: list[str] = field(default_factory=list)
    """Whose state SNS does not take."""


def republish(
    where: Stack,
    table: LedgerTable,
    *,
    rate: float | None = None,
    dry_run: bool = False,
    tick: Tick = lambda *_: None,
) -> Republished:
    """Publish the state of every customer or product of a ledger, tombstones too.

    Args:
        where: the stack.
        table: one of its ledgers.
        rate: states a second, at most.
        dry_run: only counts them.
        tick: is told how many more items were read; those of entries are read as well, but not fetched.

    Raises:
        TemporaryError: SNS did not take some; it may all be done again.
    """
    sender = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    followers = TopicPublisher(where.client("sns"), where.output(TOPICS[table.kind.check]), sender)
    size = BATCH_ENTRIES if rate is None else max(1, int(min(BATCH_ENTRIES, rate)))
    result, started = Republished(), time.monotonic()
    for scanned, items in table.heads():
        states: list[BalanceState] = []
        for item in items:
            try:
                states.append(BalanceState(table.kind, table.entity(item), read_head(item)))
            except UNREADABLE:
                result.unreadable.append(table.entity(item))
        for batch in batches(states, size):
            if not dry_run:
                try:
                    PublishBalanceStates(followers).publish(batch)
                except RejectedMessagesError as error:
                    result.refused += error.subjects
            result.states += len(batch)
            result.deleted += sum(state.head.deleted for state in batch)
            if rate is not None and not dry_run:
                time.sleep(max(0.0, started + result.states / rate - time.monotonic()))
        tick(f"{table.noun} entries", scanned)
    return result


def batches(things: Sequence[T], size: int) -> list[Sequence[T]]:
    """All of them, so many at a time."""
    return [things[start : start + size] for start in range(0, len(things), size)]
