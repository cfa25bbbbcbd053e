"""A deployed stack as operators see it: its outputs, queues, dead letters and logs."""
