"""SQS batches in, the list of those to be tried again out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from order_capture.adapters.messaging import envelopes
from order_capture.application.batches import collecting_failures
from order_capture.application.messages import Received, order_id_of
from order_capture.domain.errors import InvalidMessageError
from order_capture.entrypoints.invocations import invocation

logger = logging.getLogger(__name__)

Work = Callable[[Sequence[Any]], set[str]]
"""A use case over the messages of a batch: returns the ids of the orders that must be tried again."""


def queue_handler(
    work: Work, *accepted: type[Received], read: Callable[[str], Received] = envelopes.decode
) -> Callable[[dict[str, Any], object], dict[str, list[dict[str, str]]]]:
    """The Lambda handler of a queue's function, which takes messages of the `accepted` types.

    A message that is not ours, or whose order must be tried again, is reported by its own id and no
    other with it (ReportBatchItemFailures). After the queue's maxReceiveCount it is in the DLQ.
    """

    @invocation
    def handler(event: dict[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
        messages: dict[str, Received] = {}
        order_ids: dict[str, str] = {}
        failures: list[str] = []
        for record in event["Records"]:
            try:
                message = read(record["body"])
                if not isinstance(message, accepted):
                    raise InvalidMessageError(f"a {type(message).__name__} is not for this queue")
                messages[record["messageId"]] = message
                order_ids[record["messageId"]] = order_id_of(message)
            except InvalidMessageError as error:
                logger.error("refused a message: %s", error, extra={"message_id": record["messageId"]})
                failures.append(record["messageId"])
            except Exception:
                logger.exception("refused a message", extra={"message_id": record["messageId"]})
                failures.append(record["messageId"])
        failed: set[str] = set()
        if messages:
            with collecting_failures(failed, set(order_ids.values())):
                failed |= work(list(messages.values()))
        failures += [message_id for message_id, order_id in order_ids.items() if order_id in failed]
        logger.info(
            "handled %d of %d",
            len(event["Records"]) - len(failures),
            len(event["Records"]),
            extra={
                "orders": sorted(set(order_ids.values())),
                "correlation_ids": sorted({message.correlation_id for message in messages.values()}),
            },
        )
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failures]}

    return handler
