"""account_api: sets, shows and deletes customers' balances, and shows their history."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import clock, new_id
from order_capture.domain.ledger import ACCOUNTS
from order_capture.entrypoints.http import histories
from order_capture.entrypoints.http import ledger_requests as requests
from order_capture.entrypoints.http import ledger_responses as responses
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler
from order_capture.entrypoints.http.requests import path_id

app = RestApi()


@app.post("/account")
def post_account(request: Request) -> Response:
    """POST /account."""
    change = requests.account_change(request, new_id)
    adjusted = bootstrap.adjust_balance(ACCOUNTS).adjust(change)
    return Response(
        responses.head_view(ACCOUNTS, "customerId", change.entity, adjusted.head),
        replayed=adjusted.replayed,
    )


@app.get("/account")
def get_list(request: Request) -> Response:
    """GET /account."""
    query = requests.balances_query(request)
    page = bootstrap.list_balances(ACCOUNTS).list_page(query)
    body = {"accounts": responses.heads_view(ACCOUNTS, "customerId", page)}
    return Response(body, headers=responses.page_headers(request, "account", page))


@app.get("/account/{customerId}")
def get_account(request: Request) -> Response:
    """GET /account/{customerId}."""
    entity, at = path_id(request, "customerId"), histories.requested_time(request, clock())
    balance = bootstrap.get_balance(ACCOUNTS).get(entity, at)
    return Response(responses.head_view(ACCOUNTS, "customerId", entity, balance))


@app.get("/account/{customerId}/history")
def get_history(request: Request) -> Response:
    """GET /account/{customerId}/history."""
    entity, (after, limit) = path_id(request, "customerId"), histories.requested_page(request)
    page = bootstrap.list_balance_history(ACCOUNTS).list_page(entity, after, limit)
    body = histories.history_view(ACCOUNTS, "customerId", entity, page)
    return Response(body, headers=histories.history_headers(request, page))


@app.delete("/account/{customerId}")
def delete_account(request: Request) -> Response:
    """DELETE /account/{customerId}."""
    change = requests.deletion(request, new_id, "customerId")
    deleted = bootstrap.adjust_balance(ACCOUNTS).adjust(change)
    return Response(None, HTTPStatus.NO_CONTENT, replayed=deleted.replayed)


handler = api_handler(app, probe="/account/{customerId}")
