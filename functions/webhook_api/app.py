"""webhook_api: registers, shows, rotates and removes webhooks, and lists and replays their deliveries."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import clock, new_id
from order_capture.entrypoints.http import webhook_requests
from order_capture.entrypoints.http import webhook_responses as responses
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler
from order_capture.entrypoints.http.requests import request_key

app = RestApi(for_customers=True)


@app.post("/webhooks")
def post_webhook(request: Request) -> Response:
    """POST /webhooks."""
    webhook, key = webhook_requests.new_webhook(request, new_id, bootstrap.new_secret(), clock())
    added = bootstrap.manage_webhooks().register(webhook, request.caller, key)
    headers = responses.registered_headers(added.value)
    return Response(responses.secret_view(added.value), HTTPStatus.CREATED, headers, added.replayed)


@app.get("/webhooks")
def get_webhooks(request: Request) -> Response:
    """GET /webhooks."""
    customer_id = webhook_requests.webhooks_query(request)
    found = bootstrap.manage_webhooks().list_all(customer_id, request.caller)
    return Response({"webhooks": [*map(responses.webhook_view, found)]})


@app.get("/webhooks/{webhookId}")
def get_webhook(request: Request) -> Response:
    """GET /webhooks/{webhookId}."""
    webhook_id = webhook_requests.lone_webhook_id(request)
    webhook = bootstrap.manage_webhooks().get(webhook_id, request.caller)
    return Response(responses.webhook_view(webhook))


@app.delete("/webhooks/{webhookId}")
def delete_webhook(request: Request) -> Response:
    """DELETE /webhooks/{webhookId}."""
    webhook_id, key = webhook_requests.lone_webhook_id(request), request_key(request)
    removed = bootstrap.manage_webhooks().remove(webhook_id, request.caller, key)
    return Response(responses.webhook_view(removed.value), replayed=removed.replayed)


@app.post("/webhooks/{webhookId}/rotate-secret")
def post_rotation(request: Request) -> Response:
    """POST /webhooks/{webhookId}/rotate-secret."""
    webhook_id, key = webhook_requests.lone_webhook_id(request), request_key(request)
    secret = bootstrap.new_secret()
    rotated = bootstrap.manage_webhooks().rotate_secret(webhook_id, request.caller, secret, key)
    return Response(responses.secret_view(rotated.value), replayed=rotated.replayed)


@app.get("/webhooks/{webhookId}/deliveries")
def get_deliveries(request: Request) -> Response:
    """GET /webhooks/{webhookId}/deliveries."""
    webhook_id, query = webhook_requests.webhook_id(request), webhook_requests.deliveries_query(request)
    page = bootstrap.manage_webhooks().list_deliveries(webhook_id, request.caller, query.cursor, query.limit)
    return Response(responses.deliveries_view(page), headers=responses.page_headers(request, page))


@app.post("/webhooks/{webhookId}/deliveries/{deliveryId}/replay")
def post_replay(request: Request) -> Response:
    """POST /webhooks/{webhookId}/deliveries/{deliveryId}/replay."""
    webhook_id, delivery_id = webhook_requests.lone_webhook_id(request), webhook_requests.delivery_id(request)
    replay = bootstrap.replay_delivery().replay(webhook_id, delivery_id, request.caller, request_key(request))
    return Response(responses.delivery_view(replay.value), HTTPStatus.ACCEPTED, replayed=replay.replayed)


handler = api_handler(app, probe="/webhooks/{webhookId}")
