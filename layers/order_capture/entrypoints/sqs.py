"""Handle SQS batches with Powertools' batch processor, and report the messages to be retried.

Powertools' own processor handles each record separately: `record_handler`. A group commit needs the whole
batch: the processor behind `queue_handler` reads the records one by one, passes all of them to the use case
together, and then reports each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import botocore.exceptions
from aws_lambda_powertools.utilities.batch import (
    BasePartialBatchProcessor,
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.adapters import aws_clients, metrics, system, time_budget
from order_capture.adapters.messaging import envelopes
from order_capture.application.batches import collecting_failures
from order_capture.application.messages import Received
from order_capture.config import settings
from order_capture.domain.errors import InvalidMessageError, TransientError
from order_capture.entrypoints.invocations import Handler, invocation

logger = logging.getLogger(__name__)

Work = Callable[[Sequence[Any]], set[str]]
"""A use case for the messages of a batch: returns the ids of the orders that must be retried."""


RETRY_SECONDS = 5
"""A message to be retried becomes visible after 1 to this many seconds: other writers have finished with the
hot item by then, and a client waits for the order. The queue's own visibility timeout is for a function that
crashed."""

MAX_ENTRIES = 10
"""Messages of one ChangeMessageVisibilityBatch (SQS API reference)."""

ENTIRE_BATCH_RAISES = False
"""If all messages of a batch failed, they are reported like others. An exception would add no information for
Lambda, and count as an error of the function."""

SOON_RECEIVES = 10
"""The number of quick retries, half a minute in all. A message that still fails is not in conflict: it then
waits for the queue's visibility timeout, so that the other half of its receives outlasts an outage of
minutes."""


def queue_handler(
    work: Work,
    *accepted: type[Received],
    read: Callable[[str], Received] = envelopes.decode,
    retry_soon: bool = False,
) -> Handler[dict[str, Any]]:
    """The Lambda handler of a queue's function, which takes messages of the `accepted` types.

    Only a message that is not ours, or whose order must be retried, is reported, by its id
    (ReportBatchItemFailures). It is delivered again after the queue's visibility timeout or, with
    `retry_soon`, after a few seconds (docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide,
    "Amazon SQS visibility timeout": a message's own can be changed while it is in flight). After the queue's
    maxReceiveCount it is in the DLQ.
    """

    message_in = _reader(read, accepted)

    def handle(event: dict[str, Any], context: LambdaContext | None) -> dict[str, Any]:
        processor = GroupProcessor(work)
        response = process_partial_response(event, message_in, processor, context)
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        if retry_soon and failed:
            _redeliver_soon([record for record in event["Records"] if record["messageId"] in failed])
        return cast("dict[str, Any]", response)

    def smoke_test() -> dict[str, Any]:
        work([])
        return {"batchItemFailures": []}

    return invocation(handle, smoke_test)


def record_handler(
    process: Callable[[Any], None], *accepted: type[Received], prepare: Callable[[], object]
) -> Handler[dict[str, Any]]:
    """The Lambda handler of a queue's function that processes each message of the `accepted` types alone.

    `prepare` imports and builds what it needs, for a smoke test.

    Only a message that is not ours, or for which `process` raises, is reported. It is delivered again after
    the queue's visibility timeout, and after maxReceiveCount it is in the DLQ.
    """
    message_in = _reader(envelopes.decode, accepted)

    def process_record(record: SQSRecord) -> Received:
        with _failures_logged(message_id=record.message_id):
            message = message_in(record)
        with _failures_logged(message_id=record.message_id, order_ids=[message.order_id]):
            process(message)
        return message

    def handle(event: dict[str, Any], context: LambdaContext | None) -> dict[str, Any]:
        processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=ENTIRE_BATCH_RAISES)
        response = process_partial_response(event, process_record, processor, context)
        metrics.count("MessagesReturned", len(processor.fail_messages))
        return cast("dict[str, Any]", response)

    def smoke_test() -> dict[str, Any]:
        prepare()
        return {"batchItemFailures": []}

    return invocation(handle, smoke_test)


def _reader(
    read: Callable[[str], Received], accepted: tuple[type[Received], ...]
) -> Callable[[SQSRecord], Received]:
    def message_in(record: SQSRecord) -> Received:
        message = read(record.body)
        if not isinstance(message, accepted):
            raise InvalidMessageError(f"a {type(message).__name__} is not for this queue")
        return message

    return message_in


@contextmanager
def _failures_logged(**where: object) -> Iterator[None]:
    """Log the id of a record that fails, and why."""
    try:
        yield
    except InvalidMessageError as error:
        logger.error("refused a message: %s", error, extra=where)
        raise
    except TransientError as error:
        logger.warning("returned to the queue: %s", error, extra=where)
        raise
    except Exception:
        logger.exception("returned to the queue", extra=where)
        raise


def _redeliver_soon(records: Sequence[Mapping[str, Any]]) -> None:
    """Make messages visible again after a few seconds. If that fails, they come later."""
    recent = [
        record for record in records if int(record["attributes"]["ApproximateReceiveCount"]) <= SOON_RECEIVES
    ]
    entries = [
        {
            "Id": str(number),
            "ReceiptHandle": record["receiptHandle"],
            "VisibilityTimeout": 1 + int(system.random_fraction() * RETRY_SECONDS),
        }
        for number, record in enumerate(recent)
    ]
    try:
        for start in range(0, len(entries), MAX_ENTRIES):
            if not time_budget.has_time_left():
                return
            aws_clients.client("sqs").change_message_visibility_batch(
                QueueUrl=settings.queue_url, Entries=entries[start : start + MAX_ENTRIES]
            )
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
        logger.warning("messages are retried only after the queue's visibility timeout", exc_info=True)


_LOGGED = (None, None, None)  # the error is already in the log, redacted


class GroupProcessor(BasePartialBatchProcessor):
    """Processes the messages of a batch together. Its record handler reads the message in a record."""

    def __init__(self, work: Work) -> None:
        super().__init__(EventType.SQS, raise_on_entire_batch_failure=ENTIRE_BATCH_RAISES)
        self._work = work

    def process(self) -> list[tuple[Any, ...]]:
        """Read the records, process the readable ones, and note which failed."""
        read = {  # a message that is twice in a batch is processed once
            record.message_id: (record, message)
            for record, message in map(self._process_record, self.records)
            if message
        }
        messages = [message for _, message in read.values()]
        failed: set[str] = set()
        if messages:
            with collecting_failures(failed, {message.order_id for message in messages}):
                failed |= self._work(messages)
        outcomes: list[tuple[Any, ...]] = [
            self.failure_handler(record, _LOGGED)
            if message.order_id in failed
            else self.success_handler(record, message)
            for record, message in read.values()
        ]
        self._report(messages)
        return outcomes

    def _process_record(self, record: dict[str, Any]) -> tuple[SQSRecord, Received | None]:
        """Read the message in a record; if it is not ours, the record has failed."""
        sqs_record = SQSRecord(record)
        with suppress(Exception), _failures_logged(message_id=sqs_record.message_id):
            return sqs_record, self.handler(record=sqs_record)
        self.failure_handler(sqs_record, _LOGGED)
        return sqs_record, None

    async def _async_process_record(self, record: dict[str, Any]) -> tuple[SQSRecord, Received | None]:
        return self._process_record(record)

    def _report(self, messages: Sequence[Received]) -> None:
        metrics.count("MessagesReturned", len(self.fail_messages))
        logger.info(
            "handled %d of %d",
            len(self.records) - len(self.fail_messages),
            len(self.records),
            extra={
                "orders": sorted({message.order_id for message in messages}),
                "correlation_ids": sorted({message.correlation_id for message in messages}),
            },
        )
