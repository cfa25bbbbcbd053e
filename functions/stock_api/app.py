"""stock_api: sets what is in stock of a product, tells how it stands, and delists it."""

from __future__ import annotations

from http import HTTPStatus

from order_capture.adapters import requests, views, wiring
from order_capture.adapters.http import Request, Response, Routes, http_handler
from order_capture.adapters.runtime import clock, new_id, pause
from order_capture.application import adjust_balance, get_balance
from order_capture.domain.ledger import STOCK


def post_stock(request: Request) -> Response:
    """POST /stock."""
    change = requests.stock_change(request, new_id)
    adjusted = adjust_balance.adjust_balance(STOCK, wiring.stock(), change, clock, pause)
    return Response(
        views.head_view(STOCK, "productId", change.entity, adjusted.head),
        headers=views.replay_headers(adjusted),
    )


def get_stock(request: Request) -> Response:
    """GET /stock/{productId}."""
    entity = requests.path_id(request, "productId")
    return Response(
        views.head_view(STOCK, "productId", entity, get_balance.get_balance(wiring.stock(), entity))
    )


def delete_stock(request: Request) -> Response:
    """DELETE /stock/{productId}."""
    change = requests.deletion(request, new_id, "productId")
    deleted = adjust_balance.adjust_balance(STOCK, wiring.stock(), change, clock, pause)
    return Response(None, HTTPStatus.NO_CONTENT, views.replay_headers(deleted))


ROUTES: Routes = {
    ("POST", "/stock"): post_stock,
    ("GET", "/stock/{productId}"): get_stock,
    ("DELETE", "/stock/{productId}"): delete_stock,
}
handler = http_handler(ROUTES)
