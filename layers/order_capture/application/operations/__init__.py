"""Operators' use cases: inspect queues, redrive dead letters, find orders open too long."""
