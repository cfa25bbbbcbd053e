"""webhook_api: keeps where customers want to be told of their orders, and shows what they were told."""

from __future__ import annotations

from http import HTTPStatus

from order_capture.adapters import webhook_requests, webhook_views, webhook_wiring
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.adapters.requests import request_key
from order_capture.adapters.runtime import clock, new_id
from order_capture.application import manage_webhooks

SOURCE = "webhook_api"


def post_webhook(request: Request) -> Response:
    """POST /webhooks."""
    webhook, key = webhook_requests.new_webhook(request, new_id, webhook_wiring.new_secret(), clock())
    added = manage_webhooks.register_webhook(webhook_wiring.webhooks(), webhook, request.caller, key)
    headers = webhook_views.registered_headers(added.value)
    return Response(webhook_views.secret_view(added.value), HTTPStatus.CREATED, headers, added.replayed)


def get_webhooks(request: Request) -> Response:
    """GET /webhooks."""
    customer_id = webhook_requests.webhooks_query(request)
    found = manage_webhooks.list_webhooks(webhook_wiring.webhooks(), customer_id, request.caller)
    return Response({"webhooks": [webhook_views.webhook_view(each) for each in found]})


def get_webhook(request: Request) -> Response:
    """GET /webhooks/{webhookId}."""
    webhook_id = webhook_requests.lone_webhook_id(request)
    webhook = manage_webhooks.get_webhook(webhook_wiring.webhooks(), webhook_id, request.caller)
    return Response(webhook_views.webhook_view(webhook))


def delete_webhook(request: Request) -> Response:
    """DELETE /webhooks/{webhookId}."""
    webhook_id, key = webhook_requests.lone_webhook_id(request), request_key(request)
    removed = manage_webhooks.remove_webhook(webhook_wiring.webhooks(), webhook_id, request.caller, key)
    return Response(webhook_views.webhook_view(removed.value), replayed=removed.replayed)


def post_rotation(request: Request) -> Response:
    """POST /webhooks/{webhookId}/rotate-secret."""
    webhook_id, key = webhook_requests.lone_webhook_id(request), request_key(request)
    webhooks, secret = webhook_wiring.webhooks(), webhook_wiring.new_secret()
    rotated = manage_webhooks.rotate_secret(webhooks, webhook_id, request.caller, secret, clock, key)
    return Response(webhook_views.secret_view(rotated.value), replayed=rotated.replayed)


def get_deliveries(request: Request) -> Response:
    """GET /webhooks/{webhookId}/deliveries."""
    webhook_id, query = webhook_requests.webhook_id(request), webhook_requests.deliveries_query(request)
    webhooks = webhook_wiring.webhooks()
    page = manage_webhooks.list_deliveries(webhooks, webhook_id, request.caller, query.cursor, query.limit)
    body = {"deliveries": [webhook_views.delivery_view(each) for each in page.deliveries]}
    return Response(body, headers=webhook_views.page_headers(request, page))


def post_replay(request: Request) -> Response:
    """POST /webhooks/{webhookId}/deliveries/{deliveryId}/replay."""
    webhook_id, delivery_id = webhook_requests.lone_webhook_id(request), webhook_requests.delivery_id(request)
    webhooks, senders, key = webhook_wiring.webhooks(), webhook_wiring.senders(SOURCE), request_key(request)
    begun = manage_webhooks.replay_delivery(webhooks, senders, webhook_id, delivery_id, request.caller, key)
    return Response(webhook_views.delivery_view(begun.value), HTTPStatus.ACCEPTED, replayed=begun.replayed)


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
