"""stock_api: sets what is in stock of a product, and tells how it stands."""

from __future__ import annotations

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


ROUTES: Routes = {
    ("POST", "/stock"): post_stock,
    ("GET", "/stock/{productId}"): get_stock,
}
handler = http_handler(ROUTES)
