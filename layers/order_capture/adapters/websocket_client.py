"""Sends to open WebSocket connections, through API Gateway."""

from __future__ import annotations

from typing import Any

import botocore.exceptions


class ApiGatewayConnections:
    """Implements `application.ports.ConnectionClient`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, connection_id: str, text: str) -> bool:  # noqa: D102 - see the port
        try:
            self._client.post_to_connection(ConnectionId=connection_id, Data=text.encode())
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "GoneException":
                raise
            return False
        return True
