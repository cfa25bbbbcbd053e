"""What is said between the functions and to others: the messages, where they go, and what is in them.

Development-time only: `make schemas` writes schemas/ and asyncapi.yaml from here. The functions write and
read messages without any of it (`order_capture.adapters.cloudevents`), which needs no pydantic that way;
tests/messages holds the two to each other.
"""
