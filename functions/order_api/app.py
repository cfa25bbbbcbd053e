"""order_api: accepts orders, and lists and cancels them."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import clock, new_id
from order_capture.entrypoints.http import order_requests as requests
from order_capture.entrypoints.http import order_responses as responses
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler
from order_capture.entrypoints.http.requests import path_id, request_key

app = RestApi(for_customers=True)


@app.post("/order")
def post_order(request: Request) -> Response:
    """POST /order."""
    order, idempotent = requests.new_order(request, new_id, clock()), request.idempotency_key is not None
    captured = bootstrap.capture_orders().capture_one(order, request.caller, idempotent=idempotent)
    headers = responses.captured_headers(captured.order)
    return Response(responses.order_view(captured.order), HTTPStatus.ACCEPTED, headers, captured.replayed)


@app.post("/orders")
def post_orders(request: Request) -> Response:
    """POST /orders."""
    batch = requests.new_orders(request, new_id, clock())
    captured = bootstrap.capture_orders().capture_batch(batch, request.caller)
    return Response(
        responses.batch_view(captured), HTTPStatus.ACCEPTED, responses.LOOK_SOON, captured.replayed
    )


@app.get("/orders")
def get_orders(request: Request) -> Response:
    """GET /orders."""
    query = requests.orders_query(request)
    page = bootstrap.list_orders().list_page(query, request.caller)
    return Response(responses.orders_view(page), headers=responses.page_headers(request, page))


@app.post("/order/{orderId}/cancel")
def post_cancel(request: Request) -> Response:
    """POST /order/{orderId}/cancel."""
    request.refuse_parameters()
    order_id, key = path_id(request, "orderId"), request_key(request)
    cancelled = bootstrap.cancel_order().cancel(order_id, request.caller, key)
    return Response(responses.order_view(cancelled.value), replayed=cancelled.replayed)


handler = api_handler(app, probe="/orders")
