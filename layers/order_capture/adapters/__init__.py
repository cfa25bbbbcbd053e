"""Outbound adapters: DynamoDB, SNS, SQS, webhooks, WebSocket connections, and the serializers for them."""
