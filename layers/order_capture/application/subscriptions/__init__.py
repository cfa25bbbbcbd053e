"""Subscriptions of WebSocket connections, and the events pushed to them."""
