"""order_api: accepts orders, and shows, lists and cancels them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture import bootstrap
from order_capture.adapters.system import clock, new_id
from order_capture.entrypoints.http import conditional_get
from order_capture.entrypoints.http import order_requests as requests
from order_capture.entrypoints.http import order_responses as responses
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.requests import path_id, request_key
from order_capture.entrypoints.invocations import invocation

app = RestApi()


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
    page = bootstrap.list_orders().list_page(requests.orders_query(request), request.caller)
    return Response(responses.orders_view(page), headers=responses.page_headers(request, page))


@app.get("/order/{orderId}")
def get_order(request: Request) -> Response:
    """GET /order/{orderId}."""
    order = bootstrap.get_order().get(*conditional_get.requested_order(request))
    return conditional_get.answer(request, order, responses.order_view)


@app.get("/order/{orderId}/status")
def get_order_status(request: Request) -> Response:
    """GET /order/{orderId}/status."""
    order = bootstrap.get_order().get(*conditional_get.requested_order(request))
    return conditional_get.answer(request, order, responses.status_view)


@app.post("/order/{orderId}/cancel")
def post_cancel(request: Request) -> Response:
    """POST /order/{orderId}/cancel."""
    request.refuse_parameters()
    order_id, key = path_id(request, "orderId"), request_key(request)
    cancelled = bootstrap.cancel_order().cancel(order_id, request.caller, key)
    return Response(responses.order_view(cancelled.value), replayed=cancelled.replayed)


@invocation
def handler(event: dict[str, Any], context: LambdaContext | None) -> dict[str, Any]:
    """Answer one request."""
    return app.resolve(event, context)
