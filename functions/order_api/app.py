"""order_api: takes orders in, and tells how they stand."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.serializers.snapshots import order_values, status_values
from order_capture.adapters.system import backoff, clock, new_id, sleep
from order_capture.application.orders import cancel_order, capture_orders, get_order, list_orders
from order_capture.entrypoints.http import conditional_get, requests, responses
from order_capture.entrypoints.http.api import Request, Response, Routes, http_handler

SOURCE = "order_api"


def post_order(request: Request) -> Response:
    """POST /order."""
    order, idempotent = requests.new_order(request, new_id, clock()), request.idempotency_key is not None
    orders, checkers = bootstrap.orders(), bootstrap.check_publisher(SOURCE)
    captured = capture_orders.capture_order(
        orders, checkers, order, request.caller, clock, idempotent=idempotent
    )
    headers = responses.captured_headers(captured.order)
    return Response(order_values(captured.order), HTTPStatus.ACCEPTED, headers, captured.replayed)


def post_orders(request: Request) -> Response:
    """POST /orders."""
    batch = requests.new_orders(request, new_id, clock())
    orders, checkers = bootstrap.orders(), bootstrap.check_publisher(SOURCE)
    captured = capture_orders.capture_batch(orders, checkers, batch, request.caller, clock)
    return Response(
        responses.batch_view(captured), HTTPStatus.ACCEPTED, responses.LOOK_SOON, captured.replayed
    )


def get_orders(request: Request) -> Response:
    """GET /orders."""
    page = list_orders.list_orders(bootstrap.orders(), requests.orders_query(request), request.caller)
    return Response(responses.orders_view(page), headers=responses.page_headers(request, page))


def get_whole_order(request: Request) -> Response:
    """GET /order/{orderId}."""
    order = get_order.get_order(bootstrap.orders(), *conditional_get.requested_order(request), sleep)
    return conditional_get.answer(request, order, order_values)


def get_order_status(request: Request) -> Response:
    """GET /order/{orderId}/status."""
    order = get_order.get_order(bootstrap.orders(), *conditional_get.requested_order(request), sleep)
    return conditional_get.answer(request, order, status_values)


def post_cancel(request: Request) -> Response:
    """POST /order/{orderId}/cancel."""
    request.refuse_parameters()
    order_id, key = requests.path_id(request, "orderId"), requests.request_key(request)
    orders, checkers = bootstrap.orders(), bootstrap.check_publisher(SOURCE)
    cancelled = cancel_order.cancel_order(orders, checkers, order_id, request.caller, clock, backoff, key)
    return Response(order_values(cancelled.value), replayed=cancelled.replayed)


ROUTES: Routes = {
    ("POST", "/order"): post_order,
    ("POST", "/orders"): post_orders,
    ("GET", "/orders"): get_orders,
    ("GET", "/order/{orderId}"): get_whole_order,
    ("POST", "/order/{orderId}/cancel"): post_cancel,
    ("GET", "/order/{orderId}/status"): get_order_status,
}
handler = http_handler(ROUTES)
