"""What clients may send about webhooks. Apart from `requests`, for the functions that know none."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

from order_capture.adapters.http import Request
from order_capture.adapters.problems import FieldError, RequestInvalidError
from order_capture.adapters.requests import (
    MAX_BODY_BYTES,
    MAX_PAGE,
    Id,
    WholeNumber,
    derived_id,
    query_of,
    read,
)
from order_capture.domain.errors import NotFoundError
from order_capture.domain.events import OrderEventType
from order_capture.domain.webhooks import Webhook, webhook_id_of

MAX_URL = 512
# https to a name, not to a bare address, with a port or without; no user, no fragment, nothing to be escaped.
# On the local engine also http to the machine itself.
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
URL_PATTERN = (
    r"^(https://([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
    rf"|http://127\.0\.0\.1)(:({_PORT}))?([/?][!\x22$-~]*)?$"
)
# A customer's id, a dot, and a UUID's digits; of a delivery, its event's time and a hash.
_WEBHOOK_ID = r"[A-Za-z0-9._:@+~-]{1,64}\.[0-9a-f]{32}"
_DELIVERY_ID = r"[0-9a-f]{32}"


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _url(value: Any) -> Any:
    """Say what is wrong in words of its own; the pattern itself is in the model, as in the contract."""
    if isinstance(value, str) and len(value) <= MAX_URL and not re.fullmatch(URL_PATTERN, value):
        raise PydanticCustomError("url", "not an address to send to")
    return value


class NewWebhook(_Body):
    """The body of `POST /webhooks`."""

    customerId: Id  # noqa: N815 - the contract's name
    url: Annotated[str, Field(pattern=URL_PATTERN, max_length=MAX_URL), BeforeValidator(_url)]
    eventTypes: (  # noqa: N815
        Annotated[
            list[Annotated[OrderEventType, Strict(False)]],
            Field(min_length=1, max_length=len(OrderEventType)),
        ]
        | None
    ) = None


class WebhooksQuery(BaseModel):
    """The query of `GET /webhooks`."""

    model_config = ConfigDict(frozen=True)

    customerId: Id  # noqa: N815


def _cursor(value: str) -> str:
    try:
        delivery_id = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        if not re.fullmatch(_DELIVERY_ID, delivery_id.decode()):
            raise ValueError(value)
    except ValueError as error:
        raise PydanticCustomError("cursor", "not a cursor") from error
    return delivery_id.decode()


class DeliveriesQuery(BaseModel):
    """The query of `GET /webhooks/{webhookId}/deliveries`."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, AfterValidator(_cursor)] | None = None


def new_webhook(
    request: Request, new_id: Callable[[], str], secret: str, now: str, *, loopback: bool
) -> Webhook:
    """The webhook that `POST /webhooks` asks for.

    Raises:
        RequestInvalidError: with every field that is wrong.
    """
    body, fingerprint = read(NewWebhook, request.body, MAX_BODY_BYTES)
    if not loopback and not body.url.startswith("https:"):
        raise RequestInvalidError([FieldError("url", "must begin with https://")])
    key = request.idempotency_key
    unique = derived_id(request.caller, key) if key else new_id()
    return Webhook(
        webhook_id=webhook_id_of(body.customerId, unique.replace("-", "")),
        customer_id=body.customerId,
        url=body.url,
        event_types=tuple(dict.fromkeys(body.eventTypes or ())),
        secret=secret,
        fingerprint=fingerprint,
        create_time=now,
        update_time=now,
    )


def webhooks_query(request: Request) -> str:
    """Whose webhooks `GET /webhooks` asks for.

    Raises:
        RequestInvalidError: with every parameter that is wrong.
    """
    return query_of(WebhooksQuery, request).customerId


def deliveries_query(request: Request) -> DeliveriesQuery:
    """Which deliveries are asked for.

    Raises:
        RequestInvalidError: with every parameter that is wrong.
    """
    return query_of(DeliveriesQuery, request)


def webhook_id(request: Request) -> str:
    """The webhook in a request's path.

    Raises:
        NotFoundError: nothing can have such an id.
    """
    return _path(request, "webhookId", _WEBHOOK_ID)


def delivery_id(request: Request) -> str:
    """The delivery in a request's path.

    Raises:
        NotFoundError: nothing can have such an id.
    """
    return _path(request, "deliveryId", _DELIVERY_ID)


def _path(request: Request, name: str, pattern: str) -> str:
    value = urllib.parse.unquote(request.path.get(name, ""))  # a REST API passes it on as it was written
    if not re.fullmatch(pattern, value):
        raise NotFoundError("Nothing has such an id.")
    return value
