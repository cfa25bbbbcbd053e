"""Requests about webhooks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, Strict

from order_capture.application.idempotency import RequestKey
from order_capture.domain.errors import NotFoundError
from order_capture.domain.events import OrderEventType
from order_capture.domain.webhooks import Webhook, webhook_id_of
from order_capture.entrypoints.http import pagination
from order_capture.entrypoints.http.requests import (
    MAX_BODY_BYTES,
    MAX_PAGE,
    Body,
    Id,
    Query,
    WholeNumber,
    cursor_reader,
    query_of,
    read_body,
    request_key,
)
from order_capture.entrypoints.http.urls import Url

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request

# Webhook: a customer's id, a dot, and a UUID's digits. Delivery: its event's time and a hash.
_WEBHOOK_ID = r"[A-Za-z0-9._:@+~-]{1,64}\.[0-9a-f]{32}"
_DELIVERY_ID = r"[0-9a-f]{32}"


class NewWebhook(Body):
    """The body of `POST /webhooks`."""

    customerId: Id  # noqa: N815 - the contract's name
    url: Url
    eventTypes: Annotated[  # noqa: N815
        list[Annotated[OrderEventType, Strict(False)]],
        Field(min_length=1, max_length=len(OrderEventType)),
    ] = Field(default_factory=list)  # all types, if none is named


class WebhooksQuery(Query):
    """The query of `GET /webhooks`."""

    customerId: Id  # noqa: N815


def _cursor(value: str) -> str:
    delivery_id = pagination.unpack(value)
    if not re.fullmatch(_DELIVERY_ID, delivery_id):
        raise ValueError(value)
    return delivery_id


class DeliveriesQuery(Query):
    """The query of `GET /webhooks/{webhookId}/deliveries`."""

    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, AfterValidator(cursor_reader(_cursor))] | None = None


def new_webhook(
    request: Request, new_id: Callable[[], str], secret: str, now: str
) -> tuple[Webhook, RequestKey | None]:
    """The webhook in a `POST /webhooks`, and its Idempotency-Key as a `RequestKey`.

    Raises:
        RequestInvalidError: with every invalid field.
    """
    body, of_body = read_body(NewWebhook, request, MAX_BODY_BYTES)
    webhook = Webhook(
        webhook_id=webhook_id_of(body.customerId, new_id().replace("-", "")),
        customer_id=body.customerId,
        url=body.url,
        event_types=tuple(dict.fromkeys(body.eventTypes)),
        secret=secret,
        create_time=now,
        update_time=now,
    )
    return webhook, request_key(request, of_body)


def webhooks_query(request: Request) -> str:
    """The customer whose webhooks `GET /webhooks` requests.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    return query_of(WebhooksQuery, request).customerId


def deliveries_query(request: Request) -> DeliveriesQuery:
    """The page of deliveries requested.

    Raises:
        RequestInvalidError: with every invalid parameter.
    """
    return query_of(DeliveriesQuery, request)


def webhook_id(request: Request) -> str:
    """The webhook in a request's path.

    Raises:
        NotFoundError: it is not a valid id.
    """
    return _path(request, "webhookId", _WEBHOOK_ID)


def lone_webhook_id(request: Request) -> str:
    """The webhook in the path of a request that has no parameters.

    Raises:
        NotFoundError: it is not a valid id.
        RequestInvalidError: there are parameters.
    """
    found = webhook_id(request)
    request.refuse_parameters()
    return found


def delivery_id(request: Request) -> str:
    """The delivery in a request's path.

    Raises:
        NotFoundError: it is not a valid id.
    """
    return _path(request, "deliveryId", _DELIVERY_ID)


def _path(request: Request, name: str, pattern: str) -> str:
    value = request.path_parameter(name)
    if not re.fullmatch(pattern, value):
        raise NotFoundError("Resource not found.")
    return value
