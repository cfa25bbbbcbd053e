"""The stack's CloudWatch dashboard as a picture: its body, its data, and the page that shows both."""
