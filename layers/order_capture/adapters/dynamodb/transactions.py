"""DynamoDB transactions, and the reasons for a refused one; shared by all tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import botocore.exceptions

from order_capture.adapters import metrics
from order_capture.adapters.aws_errors import unavailable_as_transient
from order_capture.adapters.dynamodb.types import Item

MAX_ITEMS = 100
"""Items that one transaction takes (DynamoDB API reference, TransactWriteItems)."""


def transact(client: Any, actions: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Write all or nothing.

    Every action requests ALL_OLD, so that a refusal returns the current items in the same round trip.

    Returns:
        None if it is written; otherwise a reason per action, in their order. A reason has a `Code` ("None" if
        the action would have passed) and the current `Item`, if the action's own condition failed and it
        exists.

    Raises:
        TransientError: DynamoDB could not take it for now.
        botocore.exceptions.ClientError: any error other than a refusal.
    """
    actions = [
        {kind: {**action, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}
        for each in actions
        for kind, action in each.items()
    ]
    try:
        with unavailable_as_transient():
            client.transact_write_items(TransactItems=actions)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "TransactionCanceledException":
            raise
        reasons = cast("list[dict[str, Any]]", error.response["CancellationReasons"])
        if any(reason["Code"] not in _REFUSALS for reason in reasons):
            raise
        return reasons
    return None


def refused(reasons: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Item | None]]:
    """The positions of the actions whose own condition failed, each with the current item if there is one."""
    for position, reason in enumerate(reasons):
        if reason["Code"] == "ConditionalCheckFailed":
            yield position, reason.get("Item") or None


def conflicted(reasons: Sequence[dict[str, Any]]) -> bool:
    """Whether another write of the same items was in progress, or a hot item was throttled."""
    conflicts = sum(1 for _ in busy(reasons))
    metrics.count("TransactionConflicts", conflicts)
    return conflicts > 0


def busy(reasons: Sequence[dict[str, Any]]) -> Iterator[int]:
    """The positions of the actions whose items were being written by others, or were throttled."""
    for position, reason in enumerate(reasons):
        if reason["Code"] in _BUSY:
            yield position


_BUSY = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
_REFUSALS = {"None", "ConditionalCheckFailed", *_BUSY}
