"""socket_api: listens to what clients want to be told of, over a WebSocket connection."""

from __future__ import annotations

from typing import Any

from order_capture.adapters import socket_wiring, subscriptions, wiring
from order_capture.adapters.runtime import clock
from order_capture.adapters.sockets import Frame, socket_handler
from order_capture.application.follow_orders import follow


def listen(frame: Frame) -> dict[str, Any]:
    """Have the client told of what it asks for, if it may know of it."""
    what = subscriptions.wanted(frame.text)
    order = follow(
        wiring.orders(), socket_wiring.followers(), frame.connection_id, what, frame.caller, clock()
    )
    return subscriptions.subscribed(what, order)


def forget(connection_id: str) -> None:
    """Remove what a connection followed that has ended."""
    socket_wiring.followers().remove(connection_id)


handler = socket_handler(listen, forget)
