"""`make load`: orders from many clients at once, followed to their end, and the books audited."""
