"""The shop as its clients see it, over the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from tests.support.pipeline import Answer, Pipeline

CHECKERS = ("balance_checker", "stock_checker")
CONSUMERS = (*CHECKERS, "order_update", "ship_order")


def order_of(customer: str = "alice", total: float = 10, **items: int) -> dict[str, Any]:
    """The body of an order: `order_of("alice", 10, pen=1)`."""
    lines = [{"productId": product, "qty": qty} for product, qty in (items or {"pen": 1}).items()]
    return {"customerId": customer, "items": lines, "totalAmount": total}


def priced(body: Mapping[str, Any], unit_price: float | None) -> dict[str, Any]:
    """The body of an order with a price for each of its products."""
    return {**body, "items": [{**line, "unitPrice": unit_price} for line in body["items"]]}


class Shop:
    """The clients' requests and what they read."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._adjusted: dict[str, int] = {}

    def open(self, accounts: Mapping[str, int], stock: Mapping[str, int]) -> None:
        """Set the balances of customers and products."""
        for customer, balance in accounts.items():
            answer = self.pipeline.ask("POST", "/account", {"customerId": customer, "balance": balance})
            assert answer.status == 200
        for product, balance in stock.items():
            answer = self.pipeline.ask("POST", "/stock", {"productId": product, "balance": balance})
            assert answer.status == 200
        self._adjusted.update({f"/account/{name}": balance for name, balance in accounts.items()})
        self._adjusted.update({f"/stock/{name}": balance for name, balance in stock.items()})

    def post(self, body: Mapping[str, Any], key: str | None = None) -> Answer:
        """Send an order, or several."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.pipeline.ask("POST", "/orders" if "orders" in body else "/order", body, headers)

    def order(self, body: Mapping[str, Any], key: str | None = None) -> str:
        """Send an order that is accepted; return its id."""
        answer = self.post(body, key)
        assert (answer.status, answer.body["status"]) == (202, "PENDING")
        return str(answer.body["orderId"])

    def cancel(self, order_id: str) -> Answer:
        """Cancel an order."""
        return self.pipeline.ask("POST", f"/order/{order_id}/cancel")

    def status(self, order_id: str) -> str:
        return str(self.view(order_id)["status"])

    def statuses(self, order_ids: Iterable[str]) -> list[str]:
        return [self.status(order_id) for order_id in order_ids]

    def view(self, order_id: str) -> dict[str, Any]:
        answer = self.pipeline.ask("GET", f"/order/{order_id}")
        assert answer.status == 200
        view: dict[str, Any] = answer.body
        return view

    def account(self, customer: str) -> list[Decimal]:
        """Balance, held, settled."""
        return self._figures(f"/account/{customer}")

    def stock(self, product: str) -> list[Decimal]:
        """Balance, held, settled."""
        return self._figures(f"/stock/{product}")

    def books_add_up(self) -> None:
        """Assert that each account and product still adds up to its initial balance, with nothing held."""
        for path, adjusted in self._adjusted.items():
            balance, held, settled = self._figures(path)
            assert balance >= 0
            assert held == 0, f"{path} still holds {held}"
            assert balance + settled == adjusted, path

    def _figures(self, path: str) -> list[Decimal]:
        answer = self.pipeline.ask("GET", path)
        assert answer.status == 200
        return [Decimal(answer.body[name]) for name in ("balance", "held", "settled")]
