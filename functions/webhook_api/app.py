"""webhook_api: registers webhooks, and shows their deliveries."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import clock, new_id
from order_capture.application.webhooks import manage_webhooks
from order_capture.entrypoints.http import webhook_requests
from order_capture.entrypoints.http import webhook_responses as responses
from order_capture.entrypoints.http.api import Request, Response, Routes, http_handler
from order_capture.entrypoints.http.requests import request_key

SOURCE = "webhook_api"


def post_webhook(request: Request) -> Response:
    """POST /webhooks."""
    webhook, key = webhook_requests.new_webhook(request, new_id, bootstrap.new_secret(), clock())
    added = manage_webhooks.register_webhook(bootstrap.webhooks(), webhook, request.caller, key)
    headers = responses.registered_headers(added.value)
    return Response(responses.secret_view(added.value), HTTPStatus.CREATED, headers, added.replayed)


def get_webhooks(request: Request) -> Response:
    """GET /webhooks."""
    customer_id = webhook_requests.webhooks_query(request)
    found = manage_webhooks.list_webhooks(bootstrap.webhooks(), customer_id, request.caller)
    return Response({"webhooks": [*map(responses.webhook_view, found)]})


def get_webhook(request: Request) -> Response:
    """GET /webhooks/{webhookId}."""
    webhook_id = webhook_requests.lone_webhook_id(request)
    webhook = manage_webhooks.get_webhook(bootstrap.webhooks(), webhook_id, request.caller)
    return Response(responses.webhook_view(webhook))


def delete_webhook(request: Request) -> Response:
    """DELETE /webhooks/{webhookId}."""
    webhook_id, key = webhook_requests.lone_webhook_id(request), request_key(request)
    removed = manage_webhooks.remove_webhook(bootstrap.webhooks(), webhook_id, request.caller, key)
    return Response(responses.webhook_view(removed.value), replayed=removed.replayed)


def post_rotation(request: Request) -> Response:
    """POST /webhooks/{webhookId}/rotate-secret."""
    webhook_id, key = webhook_requests.lone_webhook_id(request), request_key(request)
    webhooks, secret = bootstrap.webhooks(), bootstrap.new_secret()
    rotated = manage_webhooks.rotate_secret(webhooks, webhook_id, request.caller, secret, clock, key)
    return Response(responses.secret_view(rotated.value), replayed=rotated.replayed)


def get_deliveries(request: Request) -> Response:
    """GET /webhooks/{webhookId}/deliveries."""
    webhook_id, query = webhook_requests.webhook_id(request), webhook_requests.deliveries_query(request)
    webhooks, (after, limit) = bootstrap.webhooks(), (query.cursor, query.limit)
    page = manage_webhooks.list_deliveries(webhooks, webhook_id, request.caller, after, limit)
    return Response(responses.deliveries_view(page), headers=responses.page_headers(request, page))


def post_replay(request: Request) -> Response:
    """POST /webhooks/{webhookId}/deliveries/{deliveryId}/replay."""
    webhook_id, delivery_id = webhook_requests.lone_webhook_id(request), webhook_requests.delivery_id(request)
    webhooks, senders, key = bootstrap.webhooks(), bootstrap.webhook_publisher(SOURCE), request_key(request)
    begun = manage_webhooks.replay_delivery(webhooks, senders, webhook_id, delivery_id, request.caller, key)
    return Response(responses.delivery_view(begun.value), HTTPStatus.ACCEPTED, replayed=begun.replayed)


ROUTES: Routes = {
    ("POST", "/webhooks"): post_webhook,
    ("GET", "/webhooks"): get_webhooks,
    ("GET", "/webhooks/{webhookId}"): get_webhook,
    ("DELETE", "/webhooks/{webhookId}"): delete_webhook,
    ("POST", "/webhooks/{webhookId}/rotate-secret"): post_rotation,
    ("GET", "/webhooks/{webhookId}/deliveries"): get_deliveries,
    ("POST", "/webhooks/{webhookId}/deliveries/{deliveryId}/replay"): post_replay,
}
handler = http_handler(ROUTES)
