"""Responses about accounts and stock, with the contract's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from order_capture.adapters.serializers.snapshots import amounts
from order_capture.application.ledger.list_balances import BalancePage
from order_capture.domain.ledger import Balance, LedgerSpec
from order_capture.entrypoints.http import pagination

if TYPE_CHECKING:
    from order_capture.entrypoints.http.api import Request


def head_view(kind: LedgerSpec, name: str, entity: str, head: Balance) -> dict[str, Any]:
    """The balance of a customer or product; `name` is the name of the id's field."""
    return {
        name: entity,
        **amounts(kind, head),
        "updateTime": head.update_time,
    }


def heads_view(kind: LedgerSpec, name: str, page: BalancePage) -> list[dict[str, Any]]:
    """A page of balances of customers or products."""
    return [head_view(kind, name, entity, balance) for entity, balance in page.balances.items()]


def page_headers(request: Request, name: str, page: BalancePage) -> dict[str, str]:
    """The Link header of the next page, if there can be one; `name` is the last part of the list's path."""
    if page.next is None:
        return {}
    return pagination.next_page(request, name, pagination.pack(page.next))
