"""Conditional and long-polling GET for clients that poll an order: entity tags, 304, waiting."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from order_capture.application.callers import Caller
from order_capture.domain.order import Order
from order_capture.entrypoints.http.api import Request, Response
from order_capture.entrypoints.http.order_requests import wait_seconds
from order_capture.entrypoints.http.problems import RETRY_AFTER_SECONDS
from order_capture.entrypoints.http.requests import path_id


def requested_order(request: Request) -> tuple[str, Caller, Callable[[Order], bool], int]:
    """The order's id, the caller, whether an order has changed for the client, and the seconds to wait.

    Raises:
        NotFoundError: it is not a valid id.
        RequestInvalidError: the query is invalid.
    """

    def has_changed(order: Order) -> bool:
        return request.is_conditional and not request.etag_matches(_entity_tag(order))

    return path_id(request, "orderId"), request.caller, has_changed, wait_seconds(request)


def answer(request: Request, order: Order, view: Callable[[Order], dict[str, Any]]) -> Response:
    """The order, or 304 if the client has its current version; Retry-After if it can still change."""
    headers = {"ETag": _entity_tag(order)}
    if order.is_open:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if request.etag_matches(headers["ETag"]):
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    return Response(view(order), headers=headers)


def _entity_tag(order: Order) -> str:
    """The entity tag, a new one for each change of the order. Weak: it does not cover the response's form."""
    return f'W/"{order.version}"'
