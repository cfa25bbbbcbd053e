"""stock_api: sets what is in stock of a product, tells how it stands, and delists it."""

from __future__ import annotations

from http import HTTPStatus

from order_capture.adapters import histories, history_wiring, requests, views, wiring
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.adapters.runtime import clock, new_id, pause, sleep
from order_capture.application import adjust_balance, look_back
from order_capture.domain.ledger import STOCK


def post_stock(request: Request) -> Response:
    """POST /stock."""
    change = requests.stock_change(request, new_id)
    adjusted = adjust_balance.adjust_balance(STOCK, wiring.stock(), change, clock, pause)
    return Response(
        views.head_view(STOCK, "productId", change.entity, adjusted.head),
        replayed=adjusted.replayed,
    )


def get_stock(request: Request) -> Response:
    """GET /stock/{productId}."""
    entity, at = requests.path_id(request, "productId"), histories.time_asked(request, clock())
    history = history_wiring.history("productId")
    head = look_back.get_balance_at(wiring.stock(), history, entity, at, sleep)
    return Response(views.head_view(STOCK, "productId", entity, head))


def get_history(request: Request) -> Response:
    """GET /stock/{productId}/history."""
    entity, (after, limit) = requests.path_id(request, "productId"), histories.page_asked(request)
    page = look_back.list_history(wiring.stock(), history_wiring.history("productId"), entity, after, limit)
    body = histories.history_view(STOCK, "productId", entity, page)
    return Response(body, headers=histories.history_headers(request, page))


def delete_stock(request: Request) -> Response:
    """DELETE /stock/{productId}."""
    change = requests.deletion(request, new_id, "productId")
    deleted = adjust_balance.adjust_balance(STOCK, wiring.stock(), change, clock, pause)
    return Response(None, HTTPStatus.NO_CONTENT, replayed=deleted.replayed)


ROUTES: Routes = {
    ("POST", "/stock"): post_stock,
    ("GET", "/stock/{productId}"): get_stock,
    ("DELETE", "/stock/{productId}"): delete_stock,
    ("GET", "/stock/{productId}/history"): get_history,
}
handler = http_handler(ROUTES)
