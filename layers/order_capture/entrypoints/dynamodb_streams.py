"""Handle DynamoDB stream batches: a batch succeeds or is retried as a whole, except for records at fault.

If the cause is outside the batch (SNS is down, DynamoDB is busy, a permission is missing), Lambda retries the
batch for as long as the stream keeps it. A record that can't be read or handled would never succeed, and
would block all records behind it: it alone is dead-lettered, and the others are processed.

Failed records are not reported to Lambda (`ReportBatchItemFailures`). Lambda would retry all records from the
first failed one, and the local engine would lose them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import (
    DynamoDBRecord,
    DynamoDBStreamEvent,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.adapters import aws_clients
from order_capture.adapters.aws_errors import is_worth_a_retry
from order_capture.adapters.dynamodb.ledger_repository import BALANCE_ENTRY, balance_from
from order_capture.adapters.dynamodb.order_repository import order_from
from order_capture.adapters.dynamodb.types import from_item
from order_capture.adapters.serializers import decimal_json
from order_capture.adapters.serializers.snapshots import ENTITY_NAMES
from order_capture.adapters.time_budget import has_time_left
from order_capture.application.messages import BalanceState
from order_capture.application.orders.publish_order_events import OrderChange
from order_capture.config import settings
from order_capture.domain.errors import TransientError
from order_capture.domain.ledger import ACCOUNTS, STOCK
from order_capture.entrypoints.invocations import Handler, invocation
from order_capture.entrypoints.order_metrics import measure_changes

logger = logging.getLogger(__name__)

Record = DynamoDBRecord
Content = TypeVar("Content")
StreamHandler = Handler[dict[str, Any]]


def stream_handler(work: Callable[[Sequence[OrderChange]], None]) -> StreamHandler:
    """The Lambda handler of the order table's stream: `work` gets every change of an order, in order."""

    def measured(changes: Sequence[OrderChange]) -> None:
        work(changes)
        measure_changes(changes)

    return handler_of(_change, measured)


def ledger_stream_handler(work: Callable[[Sequence[BalanceState]], None]) -> StreamHandler:
    """The Lambda handler of a ledger's stream: `work` gets every head that was written, in order.

    It serves both accounts and stock, whose keys differ.
    """
    return handler_of(_state, work)


def handler_of(
    read: Callable[[Mapping[str, Any]], Content | None], work: Callable[[Sequence[Content]], None]
) -> StreamHandler:
    """The Lambda handler of a stream: `work` gets what `read` returns for the records' images.

    If `work` fails for a transient reason, the handler fails, and the batch is retried. For any other reason
    the batch is halved until each record at fault is alone. So `work` must be idempotent.
    """

    def handle(event: dict[str, Any], _context: LambdaContext | None) -> dict[str, Any]:
        records = list(DynamoDBStreamEvent(event).records)
        contents, at_fault = _read(records, read)
        at_fault += _work(contents, work)
        # Last: a batch that is retried for hours would otherwise pile up dead letters.
        for record, error in at_fault:
            _dead_letter(record, error)
        logger.info(
            "handled %d of %d records",
            len(records) - len(at_fault),
            len(records),
            extra={"orders": list(dict.fromkeys(_order_ids(records)))},
        )
        return {}

    def smoke_test() -> dict[str, Any]:
        work([])
        return {}

    return invocation(handle, smoke_test)


def _read(
    records: Iterable[Record], read: Callable[[Mapping[str, Any]], Content | None]
) -> tuple[list[tuple[Record, Content]], list[tuple[Record, Exception]]]:
    """The records' contents, except those that `read` skips; and the records that can't be read. No release
    of ours wrote these, or one that has been rolled back."""
    contents: list[tuple[Record, Content]] = []
    at_fault: list[tuple[Record, Exception]] = []
    for record in records:
        try:
            content = read(record["dynamodb"])  # the raw images: our own reading keeps numbers exact
        except Exception as error:
            logger.exception("a record can't be read", extra={"record": record.event_id})
            at_fault.append((record, error))
        else:
            if content is not None:
                contents.append((record, content))
    return contents, at_fault


def _work(
    contents: Sequence[tuple[Record, Content]], work: Callable[[Sequence[Content]], None]
) -> list[tuple[Record, Exception]]:
    """Do the work; returns the records for which it can't be done."""
    if not contents:
        return []
    if not has_time_left():
        raise TransientError("no time is left for all records")
    try:
        work([content for _, content in contents])
    except Exception as error:
        if is_worth_a_retry(error):
            raise
        if len(contents) > 1:
            middle = len(contents) // 2
            return _work(contents[:middle], work) + _work(contents[middle:], work)
        ((record, _),) = contents
        logger.exception("a record can't be handled", extra={"record": record.event_id})
        return [(record, error)]
    return []


def _dead_letter(record: Record, error: Exception) -> None:
    """Send a record's key and sequence number to the function's DLQ; the stream keeps the record for a day.
    An error of SQS is raised, so that the batch is retried."""
    letter = {
        "eventID": record.event_id,
        "eventSourceARN": record.event_source_arn,
        "keys": from_item(record["dynamodb"]["Keys"]),
        "sequenceNumber": record["dynamodb"]["SequenceNumber"],
        "error": type(error).__name__,
    }
    queue_url = settings.dead_letter_queue_url
    aws_clients.client("sqs").send_message(QueueUrl=queue_url, MessageBody=decimal_json.dumps(letter))


def _order_ids(records: Iterable[Record]) -> Iterable[str]:
    for record in records:
        if order_id := record["dynamodb"].get("Keys", {}).get("orderId"):
            yield order_id["S"]


def _state(images: Mapping[str, Any]) -> BalanceState | None:
    """A customer's or product's balance after a write; None if an entry was written or the head deleted."""
    if images["Keys"]["entry"]["S"] != BALANCE_ENTRY or not images.get("NewImage"):
        return None
    kind = next(kind for kind in (ACCOUNTS, STOCK) if ENTITY_NAMES[kind.check] in images["Keys"])
    entity = images["Keys"][ENTITY_NAMES[kind.check]]["S"]
    return BalanceState(kind, entity, balance_from(from_item(images["NewImage"])))


def _change(images: Mapping[str, Any]) -> OrderChange | None:
    """An order before and after a write; None if it was deleted, or is an idempotency record."""
    after, before = (
        order_from(images[name]) if images.get(name) else None for name in ("NewImage", "OldImage")
    )
    return None if after is None else (before, after)
