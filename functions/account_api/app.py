"""account_api: sets what a customer may spend, tells how it stands, and closes the account."""

from __future__ import annotations

from http import HTTPStatus

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


def delete_account(request: Request) -> Response:
    """DELETE /account/{customerId}."""
    change = requests.deletion(request, new_id, "customerId")
    deleted = adjust_balance.adjust_balance(ACCOUNTS, wiring.accounts(), change, clock, pause)
    return Response(None, HTTPStatus.NO_CONTENT, views.replay_headers(deleted))


ROUTES: Routes = {
    ("POST", "/account"): post_account,
    ("GET", "/account/{customerId}"): get_account,
    ("DELETE", "/account/{customerId}"): delete_account,
}
handler = http_handler(ROUTES)
