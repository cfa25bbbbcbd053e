"""Convert values to and from JSON, items and messages."""
