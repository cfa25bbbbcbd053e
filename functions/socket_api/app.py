"""socket_api: subscribes WebSocket connections to order events."""

from __future__ import annotations

from typing import Any

from order_capture import bootstrap
from order_capture.entrypoints.websocket import messages
from order_capture.entrypoints.websocket.api import Frame, socket_handler


def on_message(frame: Frame) -> dict[str, Any]:
    """Subscribe the connection to the target in its message."""
    target = messages.wanted(frame.text)
    order = bootstrap.manage_subscriptions().subscribe(frame.connection_id, target, frame.caller)
    return messages.subscribed(target, order)


def on_disconnect(connection_id: str) -> None:
    """Remove the subscriptions of a connection that is closed."""
    bootstrap.manage_subscriptions().unsubscribe(connection_id)


handler = socket_handler(on_message, on_disconnect, prepare=bootstrap.manage_subscriptions)
