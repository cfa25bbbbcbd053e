"""Values as JSON, items and messages have them."""
