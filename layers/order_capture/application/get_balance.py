"""Get how a customer or product stands."""

from __future__ import annotations

from order_capture.application.ports import Ledger
from order_capture.domain.errors import NotFoundError
from order_capture.domain.ledger import Head, known


def get_balance(ledger: Ledger, entity: str) -> Head:
    """The head.

    Raises:
        NotFoundError: no balance was ever set for it, or it was deleted.
    """
    head = known(ledger.head(entity))
    if head is None:
        raise NotFoundError("No balance is set for it.")
    return head
