"""Restore the tables to an earlier time, and create a stack with them."""
