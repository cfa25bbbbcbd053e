"""Use cases of orders: capture, decide, ship, watch, cancel and read them, and publish their events."""
