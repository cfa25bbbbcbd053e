"""Daily reports: projected from the events, and read."""
