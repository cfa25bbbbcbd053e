"""WebSocket messages in, answers out."""
