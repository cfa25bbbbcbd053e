"""DynamoDB stream batches in. A batch is done as a whole or comes again as a whole.

Which of its records failed is not reported: the local engine would lose the others, and a relay that does
nothing twice can as well be run again from the start. But a record that can't be read never will be, and all
that comes behind it would wait: it is set aside, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from order_capture.adapters import jsontext, logs, runtime
from order_capture.adapters.attributes import from_item
from order_capture.adapters.dynamodb_ledger import HEAD, head_from
from order_capture.adapters.dynamodb_orders import order_from
from order_capture.adapters.snapshots import ENTITY_NAMES
from order_capture.application.messages import EntityState
from order_capture.application.publish_changes import OrderChange
from order_capture.domain.ledger import ACCOUNTS, STOCK

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]
Said = TypeVar("Said")


def stream_handler(
    work: Callable[[Sequence[OrderChange]], None],
) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """The Lambda handler of the order table's stream: `work` is given every change of an order, in order.

    It raises what `work` raises: the batch comes again, for as long as the stream keeps it.
    """

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        logs.configure()
        changes, unreadable = said_by(event["Records"], _change)
        if changes:
            work(changes)
        set_aside(unreadable)
        logger.info(
            "handled %d changes", len(changes), extra={"orders": [after.order_id for _, after in changes]}
        )
        return {}

    return handler


def ledger_stream_handler(
    work: Callable[[Sequence[EntityState]], None],
) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """The Lambda handler of a ledger's stream: `work` is given every head that was written, in order.

    It serves accounts and stock alike, whose keys tell them apart, and raises what `work` raises.
    """

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        logs.configure()
        states, unreadable = said_by(event["Records"], _state)
        if states:
            work(states)
        set_aside(unreadable)
        logger.info("handled %d states", len(states))
        return {}

    return handler


def said_by(
    records: Iterable[Record], read: Callable[[Mapping[str, Any]], Said | None]
) -> tuple[list[Said], list[Record]]:
    """What `read` makes of the records' images, without those that it makes nothing of; and those that it
    can't read, which no release of ours has written, or one that has been rolled back."""
    found: list[Said] = []
    unreadable: list[Record] = []
    for record in records:
        try:
            said = read(record["dynamodb"])
        except Exception:
            logger.exception("set aside a record", extra={"record": record["eventID"]})
            unreadable.append(record)
        else:
            if said is not None:
                found.append(said)
    return found, unreadable


def set_aside(records: Iterable[Record]) -> None:
    """Say among the function's dead letters which items these are of, and where in the stream, which keeps
    them for a day.

    To be called last: a batch that is tried for hours would else pile up letters. It raises what SQS does,
    and the batch comes again.
    """
    for record in records:
        letter = {
            "eventID": record["eventID"],
            "eventSourceARN": record["eventSourceARN"],
            "keys": from_item(record["dynamodb"]["Keys"]),
            "sequenceNumber": record["dynamodb"]["SequenceNumber"],
        }
        queue_url = runtime.setting("DEAD_LETTER_QUEUE_URL")
        runtime.client("sqs").send_message(QueueUrl=queue_url, MessageBody=jsontext.dumps(letter))


def _state(images: Mapping[str, Any]) -> EntityState | None:
    """How a customer or product stands after a write; None if it was of an entry, or the head is gone."""
    if images["Keys"]["entry"]["S"] != HEAD or not images.get("NewImage"):
        return None
    kind = next(kind for kind in (ACCOUNTS, STOCK) if ENTITY_NAMES[kind.check] in images["Keys"])
    entity = images["Keys"][ENTITY_NAMES[kind.check]]["S"]
    return EntityState(kind, entity, head_from(from_item(images["NewImage"])))


def _change(images: Mapping[str, Any]) -> OrderChange | None:
    """An order before and after a write; None if it was deleted, or if it is the record of a request."""
    after, before = (
        order_from(images[name]) if images.get(name) else None for name in ("NewImage", "OldImage")
    )
    return None if after is None else (before, after)
