"""webhook_api: keeps where customers want to be told of their orders, and shows what they were told."""

from __future__ import annotations

from http import HTTPStatus

from order_capture.adapters import webhook_requests, webhook_views, webhook_wiring
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.adapters.runtime import clock, new_id
from order_capture.application import manage_webhooks

SOURCE = "webhook_api"


def post_webhook(request: Request) -> Response:
    """POST /webhooks."""
    webhook = webhook_requests.new_webhook(request, new_id, webhook_wiring.new_secret(), clock())
    registered = manage_webhooks.register_webhook(webhook_wiring.webhooks(), webhook, request.caller)
    headers = webhook_views.registered_headers(registered)
    return Response(webhook_views.secret_view(registered.webhook), HTTPStatus.CREATED, headers)


def get_webhooks(request: Request) -> Response:
    """GET /webhooks."""
    customer_id = webhook_requests.webhooks_query(request)
    found = manage_webhooks.list_webhooks(webhook_wiring.webhooks(), customer_id, request.caller)
    return Response({"webhooks": [webhook_views.webhook_view(each) for each in found]})


def get_webhook(request: Request) -> Response:
    """GET /webhooks/{webhookId}."""
    webhook_id = webhook_requests.webhook_id(request)
    webhook = manage_webhooks.get_webhook(webhook_wiring.webhooks(), webhook_id, request.caller)
    return Response(webhook_views.webhook_view(webhook))


def delete_webhook(request: Request) -> Response:
    """DELETE /webhooks/{webhookId}."""
    webhook_id = webhook_requests.webhook_id(request)
    webhook = manage_webhooks.remove_webhook(webhook_wiring.webhooks(), webhook_id, request.caller)
    return Response(webhook_views.webhook_view(webhook))


def post_rotation(request: Request) -> Response:
    """POST /webhooks/{webhookId}/rotate-secret."""
    webhook_id, secret = webhook_requests.webhook_id(request), webhook_wiring.new_secret()
    webhooks = webhook_wiring.webhooks()
    webhook = manage_webhooks.rotate_secret(webhooks, webhook_id, request.caller, secret, clock)
    return Response(webhook_views.secret_view(webhook))


def get_deliveries(request: Request) -> Response:
    """GET /webhooks/{webhookId}/deliveries."""
    webhook_id, query = webhook_requests.webhook_id(request), webhook_requests.deliveries_query(request)
    webhooks = webhook_wiring.webhooks()
    page = manage_webhooks.list_deliveries(webhooks, webhook_id, request.caller, query.cursor, query.limit)
    body = {"deliveries": [webhook_views.delivery_view(each) for each in page.deliveries]}
    return Response(body, headers=webhook_views.page_headers(request, page))


def post_replay(request: Request) -> Response:
    """POST /webhooks/{webhookId}/deliveries/{deliveryId}/replay."""
    webhook_id, delivery_id = webhook_requests.webhook_id(request), webhook_requests.delivery_id(request)
    webhooks, senders = webhook_wiring.webhooks(), webhook_wiring.senders(SOURCE)
    replayed = manage_webhooks.replay_delivery(webhooks, senders, webhook_id, delivery_id, request.caller)
    return Response(webhook_views.delivery_view(replayed), HTTPStatus.ACCEPTED)


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
