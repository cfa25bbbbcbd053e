"""Use cases of webhooks: register, dispatch and deliver them."""
