"""Publish the current balances of customers and products again, as ledger_publisher does on every change.

Consumers can then build a copy from scratch, or repair one after a publish failed permanently. A state has a
version and a copy keeps the highest, so this is safe at any time and can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.messaging.publishers import BATCH_ENTRIES, EnvelopeFactory, TopicPublisher
from order_capture.adapters.system import backoff, clock, new_id
from order_capture.application.ledger.publish_balance_states import PublishBalanceStates
from order_capture.application.messages import BalanceState
from order_capture.application.retry import Retry
from order_capture.domain.errors import RejectedMessagesError
from order_capture.domain.order import CheckType
from order_capture.domain.stripes import is_stripe
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack
from order_capture_ops.tables import UNREADABLE, LedgerTable, read_balance

TOPICS = {CheckType.BALANCE: "AccountTopicArn", CheckType.STOCK: "StockTopicArn"}
"""The stack's outputs with the topics' ARNs."""

T = TypeVar("T")


@dataclass
class RepublishedStates:
    """What was published of one ledger, or would be without `dry_run`."""

    states: int = 0
    deleted: int = 0
    """The number of tombstones among the states."""
    unreadable: list[str] = field(default_factory=list)
    """Customers or products whose balance item is malformed; see `audit`."""
    refused: list[str] = field(default_factory=list)
    """Customers or products whose state SNS rejects."""


def republish(
    stack: Stack,
    table: LedgerTable,
    *,
    rate: float | None = None,
    dry_run: bool = False,
    on_progress: ProgressCallback = lambda *_: None,
) -> RepublishedStates:
    """Publish the state of every customer or product of a ledger, including tombstones.

    Args:
        stack: the stack.
        table: one of its ledgers.
        rate: at most this many states a second.
        dry_run: count them only.
        on_progress: is called with the number of items scanned, entries included.

    Raises:
        TransientError: SNS did not accept all of them; the whole command may be repeated.
    """
    envelopes = EnvelopeFactory("/order-capture/operator", new_id, clock, backoff)
    publisher = TopicPublisher(stack.client("sns"), stack.output(TOPICS[table.spec.check]), envelopes)
    ledger = DynamoLedgerRepository(table.client, table.name, table.key, Retry(backoff))
    use_case = PublishBalanceStates(ledger, publisher)
    size = BATCH_ENTRIES if rate is None else max(1, int(min(BATCH_ENTRIES, rate)))
    result, started = RepublishedStates(), time.monotonic()

    def publish(states: Sequence[BalanceState]) -> None:
        if not dry_run:
            try:
                use_case.publish(states)
            except RejectedMessagesError as error:
                result.refused += error.subjects
        result.states += len(states)
        result.deleted += sum(state.head.deleted for state in states)
        if rate is not None and not dry_run:
            time.sleep(max(0.0, started + result.states / rate - time.monotonic()))

    for scanned, items in table.balance_items():
        states: list[BalanceState] = []
        # A stripe has no separate state: for a root with stripes, the use case reads all and adds them up.
        for item in items:
            entity = table.partition(item)
            if is_stripe(entity):
                continue
            try:
                head = read_balance(item)
                if head.stripes:
                    ledger.heads(entity, head.stripes)
                states.append(BalanceState(table.spec, entity, head))
            except UNREADABLE:
                result.unreadable.append(entity)
        for batch in batches(states, size):
            publish(batch)
        on_progress(f"{table.noun} entries", scanned)
    return result


def batches(values: Sequence[T], size: int) -> list[Sequence[T]]:
    """Split into batches of at most `size`."""
    return [values[start : start + size] for start in range(0, len(values), size)]
