"""The contracts between the functions and with others: the messages, where they go, and what is in them.

Development-time only: `make schemas` writes schemas/ and asyncapi.yaml from here. The models are
the functions' own (`order_capture.application.messages`).
"""
