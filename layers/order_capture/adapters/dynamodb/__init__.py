"""The repositories, each with its DynamoDB table."""
