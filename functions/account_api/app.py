"""account_api: sets what a customer may spend, tells how it stands, and closes the account."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import backoff, clock, new_id, sleep
from order_capture.application.ledger import adjust_balance, balance_history
from order_capture.domain.ledger import ACCOUNTS
from order_capture.entrypoints.http import histories, requests, responses
from order_capture.entrypoints.http.api import Request, Response, Routes, http_handler


def post_account(request: Request) -> Response:
    """POST /account."""
    change = requests.account_change(request, new_id)
    adjusted = adjust_balance.adjust_balance(ACCOUNTS, bootstrap.accounts(), change, clock, backoff)
    return Response(
        responses.head_view(ACCOUNTS, "customerId", change.entity, adjusted.head),
        replayed=adjusted.replayed,
    )


def get_account(request: Request) -> Response:
    """GET /account/{customerId}."""
    entity, at = requests.path_id(request, "customerId"), histories.requested_time(request, clock())
    history = bootstrap.history("customerId")
    head = balance_history.get_balance_at(bootstrap.accounts(), history, entity, at, sleep)
    return Response(responses.head_view(ACCOUNTS, "customerId", entity, head))


def get_history(request: Request) -> Response:
    """GET /account/{customerId}/history."""
    entity, (after, limit) = requests.path_id(request, "customerId"), histories.requested_page(request)
    page = balance_history.list_history(
        bootstrap.accounts(), bootstrap.history("customerId"), entity, after, limit
    )
    body = histories.history_view(ACCOUNTS, "customerId", entity, page)
    return Response(body, headers=histories.history_headers(request, page))


def delete_account(request: Request) -> Response:
    """DELETE /account/{customerId}."""
    change = requests.deletion(request, new_id, "customerId")
    deleted = adjust_balance.adjust_balance(ACCOUNTS, bootstrap.accounts(), change, clock, backoff)
    return Response(None, HTTPStatus.NO_CONTENT, replayed=deleted.replayed)


ROUTES: Routes = {
    ("POST", "/account"): post_account,
    ("GET", "/account/{customerId}"): get_account,
    ("DELETE", "/account/{customerId}"): delete_account,
    ("GET", "/account/{customerId}/history"): get_history,
}
handler = http_handler(ROUTES)
