"""`make load`: orders from many concurrent clients, followed to their end, and an audit of the books."""
