"""Restore the tables to an earlier moment, and put a stack around them."""
