"""The traditional design: the same order capture, as a synchronous application on one PostgreSQL database."""
