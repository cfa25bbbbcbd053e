"""Access to a deployed stack for operators: its outputs, queues, dead letters and logs."""
