"""The caller of a request, and the orders that it can access. Every use case about an order checks this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request: a service or an operator, who act for every customer, or one customer.

    `subject` is unique and never changes. `customer_id` is None for a service or an operator.
    """

    subject: str
    customer_id: str | None = None

    @property
    def is_customer(self) -> bool:
        """Whether the caller may only access its own orders."""
        return self.customer_id is not None

    def can_access(self, customer_id: str | None) -> bool:
        """Whether the caller may read, place and cancel the customer's orders; None means all customers."""
        return self.customer_id is None or self.customer_id == customer_id


NOBODY = Caller("nobody", "")
"""The caller of public resources. No customer has an empty id."""
