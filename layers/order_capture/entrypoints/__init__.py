"""What comes in: API Gateway's requests, SQS batches, DynamoDB streams, WebSocket messages."""
