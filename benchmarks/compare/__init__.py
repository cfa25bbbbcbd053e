"""The event-driven design beside a monolith, at sizes that no laptop has."""
