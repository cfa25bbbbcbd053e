"""account_api: sets what a customer may spend, tells how it stands, and closes the account."""

from __future__ import annotations

from http import HTTPStatus

from order_capture.adapters import histories, history_wiring, requests, views, wiring
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.adapters.runtime import clock, new_id, pause, sleep
from order_capture.application import adjust_balance, look_back
from order_capture.domain.ledger import ACCOUNTS


def post_account(request: Request) -> Response:
    """POST /account."""
    change = requests.account_change(request, new_id)
    adjusted = adjust_balance.adjust_balance(ACCOUNTS, wiring.accounts(), change, clock, pause)
    return Response(
        views.head_view(ACCOUNTS, "customerId", change.entity, adjusted.head),
        replayed=adjusted.replayed,
    )


def get_account(request: Request) -> Response:
    """GET /account/{customerId}."""
    entity, at = requests.path_id(request, "customerId"), histories.time_asked(request, clock())
    history = history_wiring.history("customerId")
    head = look_back.get_balance_at(wiring.accounts(), history, entity, at, sleep)
    return Response(views.head_view(ACCOUNTS, "customerId", entity, head))


def get_history(request: Request) -> Response:
    """GET /account/{customerId}/history."""
    entity, (after, limit) = requests.path_id(request, "customerId"), histories.page_asked(request)
    page = look_back.list_history(
        wiring.accounts(), history_wiring.history("customerId"), entity, after, limit
    )
    body = histories.history_view(ACCOUNTS, "customerId", entity, page)
    return Response(body, headers=histories.history_headers(request, page))


def delete_account(request: Request) -> Response:
    """DELETE /account/{customerId}."""
    change = requests.deletion(request, new_id, "customerId")
    deleted = adjust_balance.adjust_balance(ACCOUNTS, wiring.accounts(), change, clock, pause)
    return Response(None, HTTPStatus.NO_CONTENT, replayed=deleted.replayed)


ROUTES: Routes = {
    ("POST", "/account"): post_account,
    ("GET", "/account/{customerId}"): get_account,
    ("DELETE", "/account/{customerId}"): delete_account,
    ("GET", "/account/{customerId}/history"): get_history,
}
handler = http_handler(ROUTES)
