"""order_reader: shows an order, immediately or when it has changed."""

from __future__ import annotations

from order_capture import bootstrap
from order_capture.entrypoints.http import conditional_get
from order_capture.entrypoints.http import order_responses as responses
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler

app = RestApi(for_customers=True)


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


handler = api_handler(app, probe="/order/{orderId}")
