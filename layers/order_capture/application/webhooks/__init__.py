"""Webhooks: registered, dispatched, delivered."""
