"""socket_authorizer: allows WebSocket connections to callers who may read orders."""

from __future__ import annotations

from order_capture.entrypoints.authorizer import authorizer_handler

handler = authorizer_handler("orders/read")
