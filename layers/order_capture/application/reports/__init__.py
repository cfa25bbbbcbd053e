"""Daily reports: project them from the events, and read them."""
