"""WebSocket messages and responses."""
