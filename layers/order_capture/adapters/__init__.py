"""What goes out: DynamoDB, SNS, SQS, webhooks, WebSocket connections, and how values are written for them."""
