"""Who asks, and whose orders they reach. Each use case about an order is told, and holds to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: a service, which acts for every customer, or one customer.

    `subject` is theirs alone and stays the same. `customer_id` is None for a service.
    """

    subject: str
    customer_id: str | None = None

    def can_access(self, customer_id: str) -> bool:
        """Whether that customer's orders are theirs to see, place and cancel."""
        return self.customer_id is None or self.customer_id == customer_id
