"""account_api: sets what a customer may spend, and tells how it stands."""

from __future__ import annotations

from order_capture.adapters import requests, views, wiring
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.adapters.runtime import clock, new_id, pause
from order_capture.application import adjust_balance, get_balance
from order_capture.domain.ledger import ACCOUNTS


def post_account(request: Request) -> Response:
    """POST /account."""
    change = requests.account_change(request, new_id)
    adjusted = adjust_balance.adjust_balance(ACCOUNTS, wiring.accounts(), change, clock, pause)
    return Response(
        views.head_view(ACCOUNTS, "customerId", change.entity, adjusted.head),
        headers=views.replay_headers(adjusted),
    )


def get_account(request: Request) -> Response:
    """GET /account/{customerId}."""
    entity = requests.path_id(request, "customerId")
    return Response(
        views.head_view(ACCOUNTS, "customerId", entity, get_balance.get_balance(wiring.accounts(), entity))
    )


ROUTES: Routes = {
    ("POST", "/account"): post_account,
    ("GET", "/account/{customerId}"): get_account,
}
handler = http_handler(ROUTES)
