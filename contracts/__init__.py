"""What is said between the functions and to others: the messages, where they go, and what is in them.

Development-time only: `make schemas` writes schemas/ and asyncapi.yaml from here. The functions write and
read messages without it, and so without pydantic (`order_capture.adapters.messaging.envelopes`);
tests/messages holds the two to each other.
"""
