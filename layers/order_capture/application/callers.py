"""Who sends a request, and whose orders they can access. Every use case about an order checks it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: a service, which acts for every customer, or one customer.

    `subject` is unique and never changes. `customer_id` is None for a service.
    """

    subject: str
    customer_id: str | None = None

    def can_access(self, customer_id: str) -> bool:
        """Whether they may read, place and cancel that customer's orders."""
        return self.customer_id is None or self.customer_id == customer_id
