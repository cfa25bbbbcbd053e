"""The repositories, each over its DynamoDB table."""
