"""Tooling for a laptop: the embedded engine, the demo, the logs. Nothing here is deployed."""
