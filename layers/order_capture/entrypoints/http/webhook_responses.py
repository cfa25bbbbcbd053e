"""Responses about webhooks, with the contract's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from order_capture.application.webhooks.manage_webhooks import DeliveryPage
from order_capture.domain.webhooks import Delivery, DeliveryStatus, Webhook, all_types
from order_capture.entrypoints.http import pagination

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request


def webhook_view(webhook: Webhook) -> dict[str, Any]:
    """A webhook, without its secret."""
    return {
        "webhookId": webhook.webhook_id,
        "customerId": webhook.customer_id,
        "url": webhook.url,
        "eventTypes": all_types(webhook.event_types),
        "status": webhook.status,
        "createTime": webhook.create_time,
        "updateTime": webhook.update_time,
    }


def secret_view(webhook: Webhook) -> dict[str, Any]:
    """A webhook with its secret, which is shown only when it is new."""
    return {**webhook_view(webhook), "secret": webhook.secret}


def registered_headers(webhook: Webhook) -> dict[str, str]:
    """The Location header of the webhook."""
    return {"Location": f"webhooks/{webhook.webhook_id}"}


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """A delivery, without its body."""
    callback = {"url": delivery.callback_url} if delivery.callback_url else {}
    pending = delivery.status is DeliveryStatus.PENDING
    return {
        "deliveryId": delivery.delivery_id,
        "webhookId": delivery.webhook_id,
        "orderId": delivery.order_id,
        "eventType": delivery.event_type,
        "status": delivery.status,
        "attempts": [{"time": each.time, "result": each.result} for each in delivery.attempts],
        "createTime": delivery.create_time,
        "nextTime": delivery.next_time if pending else None,
        **callback,
    }


def deliveries_view(page: DeliveryPage) -> dict[str, Any]:
    """A page of deliveries."""
    return {"deliveries": [delivery_view(each) for each in page.deliveries]}


def page_headers(request: Request, page: DeliveryPage) -> dict[str, str]:
    """The Link header of the next page, if there is one."""
    if page.next is None:
        return {}
    return pagination.next_page(request, "deliveries", pagination.pack(page.next))
