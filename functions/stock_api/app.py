"""stock_api: sets, shows and deletes the stock of products, with its history."""

from __future__ import annotations

from http import HTTPStatus

from order_capture import bootstrap
from order_capture.adapters.system import clock, new_id
from order_capture.domain.ledger import STOCK
from order_capture.entrypoints.http import histories
from order_capture.entrypoints.http import ledger_requests as requests
from order_capture.entrypoints.http import ledger_responses as responses
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.handler import api_handler
from order_capture.entrypoints.http.requests import path_id

app = RestApi()


@app.post("/stock")
def post_stock(request: Request) -> Response:
    """POST /stock."""
    change = requests.stock_change(request, new_id)
    adjusted = bootstrap.adjust_balance(STOCK).adjust(change)
    return Response(
        responses.head_view(STOCK, "productId", change.entity, adjusted.head),
        replayed=adjusted.replayed,
    )


@app.get("/stock")
def get_list(request: Request) -> Response:
    """GET /stock."""
    query = requests.balances_query(request)
    page = bootstrap.list_balances(STOCK).list_page(query)
    body = {"products": responses.heads_view(STOCK, "productId", page)}
    return Response(body, headers=responses.page_headers(request, "stock", page))


@app.get("/stock/{productId}")
def get_stock(request: Request) -> Response:
    """GET /stock/{productId}."""
    entity, at = path_id(request, "productId"), histories.requested_time(request, clock())
    balance = bootstrap.get_balance(STOCK).get(entity, at)
    return Response(responses.head_view(STOCK, "productId", entity, balance))


@app.get("/stock/{productId}/history")
def get_history(request: Request) -> Response:
    """GET /stock/{productId}/history."""
    entity, (after, limit) = path_id(request, "productId"), histories.requested_page(request)
    page = bootstrap.list_balance_history(STOCK).list_page(entity, after, limit)
    body = histories.history_view(STOCK, "productId", entity, page)
    return Response(body, headers=histories.history_headers(request, page))


@app.delete("/stock/{productId}")
def delete_stock(request: Request) -> Response:
    """DELETE /stock/{productId}."""
    change = requests.deletion(request, new_id, "productId")
    deleted = bootstrap.adjust_balance(STOCK).adjust(change)
    return Response(None, HTTPStatus.NO_CONTENT, replayed=deleted.replayed)


handler = api_handler(app, probe="/stock/{productId}")
