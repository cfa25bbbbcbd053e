"""socket_api: listens to what clients want to be told of, over a WebSocket connection."""

from __future__ import annotations

from typing import Any

from order_capture import bootstrap
from order_capture.adapters.system import clock
from order_capture.application.subscriptions.push_events import subscribe
from order_capture.entrypoints.websocket import messages
from order_capture.entrypoints.websocket.api import Frame, socket_handler


def listen(frame: Frame) -> dict[str, Any]:
    """Have the client told of what it asks for, if it may know of it."""
    what = messages.wanted(frame.text)
    order = subscribe(
        bootstrap.orders(), bootstrap.subscriptions(), frame.connection_id, what, frame.caller, clock()
    )
    return messages.subscribed(what, order)


def forget(connection_id: str) -> None:
    """Remove what a connection followed that has ended."""
    bootstrap.subscriptions().remove(connection_id)


handler = socket_handler(listen, forget)
