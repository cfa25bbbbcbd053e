"""Draw the stack's CloudWatch dashboard: its body, its data, and the page that shows both."""
