"""socket_authorizer: lets those open a WebSocket connection who may read orders."""

from __future__ import annotations

from order_capture.entrypoints.authorizer import authorizer_handler

handler = authorizer_handler("orders/read")
