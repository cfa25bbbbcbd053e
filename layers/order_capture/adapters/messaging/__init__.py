"""Messages to SNS and SQS, and the CloudEvents envelope around them."""
