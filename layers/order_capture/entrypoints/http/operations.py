"""Operators' requests and responses, with the contract's names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PlainValidator

from order_capture.application.channels import Channel, ChannelKind, channel
from order_capture.application.operations.list_dead_letters import DeadLetterList, DiagnosedDeadLetter
from order_capture.application.operations.list_open_orders import OpenOrder, OpenOrderPage
from order_capture.application.operations.ports import QueueStatus
from order_capture.application.operations.redrive_dead_letters import Redriven
from order_capture.application.ports import OrderCursor
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.requests import (
    MAX_BODY_BYTES,
    MAX_PAGE,
    Body,
    Id,
    Query,
    Units,
    WholeNumber,
    cursor_reader,
    path_id,
    query_of,
    read_body,
)

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

MAX_LETTERS = 20  # each may need a search in a function's log, which takes a second
MAX_BODY_SHOWN = 4000  # characters; a message has at most 256 KB, a response 6 MB
MAX_REDRIVEN = 1000
MAX_DISCARDED = 10  # what SQS deletes in one call


MessageId = Annotated[str, Field(min_length=1, max_length=100)]


class DeadLetterQuery(Query):
    """The query of `GET /operations/dead-letters/{queue}`."""

    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_LETTERS)] = 10


class OpenOrderQuery(Query):
    """The query of `GET /operations/open-orders`."""

    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[OrderCursor, PlainValidator(cursor_reader(pagination.decode))] | None = None


class Redrive(Body):
    """The body of `POST /operations/dead-letters/{queue}/redrive`."""

    dryRun: bool = False  # noqa: N815 - the contract's name
    limit: Annotated[Units, Field(ge=1, le=MAX_REDRIVEN)] = 100


class Discard(Body):
    """The body of `POST /operations/dead-letters/{queue}/discard`."""

    messageIds: Annotated[list[MessageId], Field(min_length=1, max_length=MAX_DISCARDED)]  # noqa: N815


class Recheck(Body):
    """The body of `POST /operations/open-orders/recheck`."""

    orderIds: Annotated[list[Id], Field(max_length=MAX_PAGE)] = Field(default_factory=list)  # noqa: N815


def requested_channel(request: Request) -> Channel:
    """The channel in a request's path.

    Raises:
        NotFoundError: there is none of that name.
    """
    return channel(path_id(request, "queue"))


def requested_letters(request: Request) -> int:
    """The number of dead letters requested.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    return query_of(DeadLetterQuery, request).limit


def requested_open_orders(request: Request) -> OpenOrderQuery:
    """The page of open orders requested.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    return query_of(OpenOrderQuery, request)


def requested_redrive(request: Request) -> Redrive:
    """The redrive requested.

    Raises:
        RequestInvalidError: with every invalid field.
        UnsupportedMediaTypeError: the body is not JSON.
    """
    return read_body(Redrive, request, MAX_BODY_BYTES)[0]


def requested_discard(request: Request) -> set[str]:
    """The ids of the messages to delete.

    Raises:
        RequestInvalidError: with every invalid field.
        UnsupportedMediaTypeError: the body is not JSON.
    """
    return {*read_body(Discard, request, MAX_BODY_BYTES)[0].messageIds}


def requested_recheck(request: Request) -> Recheck:
    """The ids of the orders to check.

    Raises:
        RequestInvalidError: with every invalid field.
        UnsupportedMediaTypeError: the body is not JSON.
    """
    return read_body(Recheck, request, MAX_BODY_BYTES)[0]


def queues_view(queues: Sequence[QueueStatus], now: str) -> dict[str, Any]:
    """Every queue, topic and stream."""
    return {"time": now, "queues": [_queue_view(each) for each in queues]}


def _queue_view(status: QueueStatus) -> dict[str, Any]:
    view: dict[str, Any] = {"name": status.channel.name, "kind": status.channel.kind}
    if status.channel.kind is ChannelKind.QUEUE:
        view |= {"waiting": status.waiting, "inFlight": status.in_flight, "delayed": status.delayed}
        if status.oldest is not None:
            view["oldestSeconds"] = int(status.oldest)
    if status.channel.own_dead_letters:
        view |= {"deadLetters": status.dead_letters, "redrivable": status.channel.redrivable}
    return view


def dead_letters_view(found: DeadLetterList) -> dict[str, Any]:
    """A queue's dead letters."""
    return {
        "queue": found.channel.name,
        "count": found.count,
        "redrivable": found.channel.redrivable,
        "deadLetters": [_dead_letter_view(each) for each in found.messages],
    }


def _dead_letter_view(letter: DiagnosedDeadLetter) -> dict[str, Any]:
    message = letter.message
    known = {"type": message.type, "orderId": message.order_id, "orderStatus": letter.order_status}
    body = message.body[:MAX_BODY_SHOWN]
    return {
        "messageId": message.message_id,
        **{name: value for name, value in known.items() if value is not None},
        "reason": letter.reason,
        "readable": letter.readable,
        "ageSeconds": max(0, int(message.age)),
        "receives": message.receives,
        "body": body,
        **({"bodyTruncated": True} if len(body) < len(message.body) else {}),
    }


def redriven_view(channel: Channel, redriven: Redriven, *, dry_run: bool) -> dict[str, Any]:
    """The messages that were moved, or would be."""
    result = redriven.result
    return {
        "queue": channel.name,
        "dryRun": dry_run,
        "moved": result.moved,
        "foreign": result.foreign,
        "failed": result.failed,
        "remaining": redriven.remaining,
    }


def discarded_view(channel: Channel, message_ids: Collection[str], discarded: int) -> dict[str, Any]:
    """The numbers of messages deleted and kept."""
    return {"queue": channel.name, "discarded": discarded, "kept": len(message_ids) - discarded}


def open_orders_view(page: OpenOrderPage) -> dict[str, Any]:
    """Open orders, and what each waits for."""
    return {"openOrders": [_open_order_view(each) for each in page.orders]}


def _open_order_view(found: OpenOrder) -> dict[str, Any]:
    return {
        "orderId": found.order.order_id,
        "customerId": found.order.details.customer_id,
        "status": found.order.status,
        "createTime": found.order.create_time,
        "ageSeconds": max(0, int(found.age)),
        "waitsFor": [*found.waits_for],
        "deadLetters": [*found.dead_letters],
    }


def page_headers(request: Request, page: OpenOrderPage) -> dict[str, str]:
    """The Link header of the next page, if there is one."""
    return (
        {}
        if page.next is None
        else pagination.next_page(request, "open-orders", pagination.encode(page.next))
    )
