"""Inbound adapters: API Gateway requests, SQS batches, DynamoDB streams, WebSocket messages."""
