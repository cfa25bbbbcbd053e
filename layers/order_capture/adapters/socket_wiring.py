"""Which adapter stands behind which port of the WebSocket functions: apart, so that no other imports them."""

from __future__ import annotations

from order_capture.adapters.connections import ApiConnections
from order_capture.adapters.dynamodb_followers import DynamoFollowers
from order_capture.adapters.runtime import address, client, pause, setting


def followers() -> DynamoFollowers:
    """Which connections follow what."""
    return DynamoFollowers(client("dynamodb"), setting("CONNECTION_TABLE"), pause)


def connections() -> ApiConnections:
    """The open connections."""
    return ApiConnections(client("apigatewaymanagementapi", address("CONNECTIONS_URL")))
