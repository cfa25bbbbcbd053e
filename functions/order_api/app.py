"""order_api: accepts orders, and shows, lists and cancels them."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.serializers.snapshots import order_values, status_values
from order_capture.adapters.system import clock, new_id
from order_capture.entrypoints.http import conditional_get, requests, responses
from order_capture.entrypoints.http.api import Request, Response, Routes, http_handler


def post_order(request: Request) -> Response:
    """POST /order."""
    order, idempotent = requests.new_order(request, new_id, clock()), request.idempotency_key is not None
    captured = bootstrap.capture_orders().capture_one(order, request.caller, idempotent=idempotent)
    headers = responses.captured_headers(captured.order)
    return Response(order_values(captured.order), HTTPStatus.ACCEPTED, headers, captured.replayed)


def post_orders(request: Request) -> Response:
    """POST /orders."""
    batch = requests.new_orders(request, new_id, clock())
    captured = bootstrap.capture_orders().capture_batch(batch, request.caller)
    return Response(
        responses.batch_view(captured), HTTPStatus.ACCEPTED, responses.LOOK_SOON, captured.replayed
    )


def get_orders(request: Request) -> Response:
    """GET /orders."""
    page = bootstrap.list_orders().list_page(requests.orders_query(request), request.caller)
    return Response(responses.orders_view(page), headers=responses.page_headers(request, page))


def get_order(request: Request) -> Response:
    """GET /order/{orderId}."""
    order = bootstrap.get_order().get(*conditional_get.requested_order(request))
    return conditional_get.answer(request, order, order_values)


def get_order_status(request: Request) -> Response:
    """GET /order/{orderId}/status."""
    order = bootstrap.get_order().get(*conditional_get.requested_order(request))
    return conditional_get.answer(request, order, status_values)


def post_cancel(request: Request) -> Response:
    """POST /order/{orderId}/cancel."""
    request.refuse_parameters()
    order_id, key = requests.path_id(request, "orderId"), requests.request_key(request)
    cancelled = bootstrap.cancel_order().cancel(order_id, request.caller, key)
    return Response(order_values(cancelled.value), replayed=cancelled.replayed)


ROUTES: Routes = {
    ("POST", "/order"): post_order,
    ("POST", "/orders"): post_orders,
    ("GET", "/orders"): get_orders,
    ("GET", "/order/{orderId}"): get_order,
    ("POST", "/order/{orderId}/cancel"): post_cancel,
    ("GET", "/order/{orderId}/status"): get_order_status,
}
handler = http_handler(ROUTES)
