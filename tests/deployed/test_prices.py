"""A priced product is sold only at its price, to every client."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from tests.deployed.shop import Balances, StackClient, View, body_of


def new_product(shop: StackClient, price: str, units: int = 50) -> str:
    """A product at a price."""
    product = f"gold-{uuid.uuid4()}"
    answer = shop.post("/stock", {"productId": product, "balance": units, "price": Decimal(price)})
    assert answer.status_code == 200, answer.text
    assert body_of(answer)["price"] == Decimal(price)
    return product


def placed(
    shop: StackClient, customer: str, product: str, qty: int, unit_price: str | None, **headers: str
) -> View:
    """An order that has ended, of one product at a price."""
    line: dict[str, Any] = {"productId": product, "qty": qty}
    total = Decimal(0)
    if unit_price is not None:
        line["unitPrice"] = Decimal(unit_price)
        total = qty * Decimal(unit_price)
    body = {"customerId": customer, "items": [line], "totalAmount": total}
    answer = shop.post("/order", body, **headers)
    assert answer.status_code == 202, answer.text
    return shop.ended(body_of(answer)["orderId"])


def test_an_order_with_a_wrong_price_is_rejected(shop: StackClient) -> None:
    # given a customer without a cent, who signs in
    customer, gold = shop.new_customer("0.00"), new_product(shop, "499.00")
    bearer = shop.bearer(customer)
    # when
    order = placed(shop, customer, gold, 50, "0.00", Authorization=bearer)
    silent = placed(shop, customer, gold, 50, None, Authorization=bearer)
    # then
    assert order["status"] == silent["status"] == "REJECTED"
    refusal = {
        "outcome": "DECLINED",
        "code": "PRICE_MISMATCH",
        "id": gold,
        "asked": 50,
        "available": None,
        "price": Decimal("499.00"),
    }
    assert order["checks"]["stock"] == {**refusal, "unitPrice": Decimal("0.00")}
    assert silent["checks"]["stock"] == {**refusal, "unitPrice": None}
    expected = f"stock DECLINED PRICE_MISMATCH {gold}, price 499.00, ordered at 0.00"
    assert any(line.endswith(expected) for line in order["logs"])
    shop.come_to_rest()
    assert shop.units(gold) == Balances.of(50)


def test_at_the_price_an_order_ships_and_after_a_change_only_at_the_new_one(shop: StackClient) -> None:
    # given
    customer, gold = shop.new_customer("100.00"), new_product(shop, "19.90")
    assert placed(shop, customer, gold, 2, "19.90")["status"] == "SHIPPED"
    before = body_of(shop.get(f"/stock/{gold}"))
    # when
    changed = shop.post("/stock", {"productId": gold, "price": Decimal("20.00")})
    # then
    assert changed.status_code == 200
    assert body_of(changed) == {
        **before,
        "price": Decimal("20.00"),
        "updateTime": body_of(changed)["updateTime"],
    }
    assert placed(shop, customer, gold, 1, "19.90")["checks"]["stock"]["code"] == "PRICE_MISMATCH"
    order = placed(shop, customer, gold, 1, "20.00")
    assert order["status"] == "SHIPPED"
    assert order["items"] == [{"productId": gold, "qty": 1, "unitPrice": Decimal("20.00")}]
    shop.come_to_rest()
    assert shop.money(customer) == Balances.of("40.20", settled="59.80")
    assert shop.units(gold) == Balances.of(47, settled=3)


def test_null_removes_a_price_and_the_history_keeps_it(shop: StackClient) -> None:
    customer, pen = shop.new_customer("10.00"), new_product(shop, "2.50")
    then = body_of(shop.get(f"/stock/{pen}"))

    assert "price" not in body_of(shop.post("/stock", {"productId": pen, "price": None}))

    assert "price" not in body_of(shop.get(f"/stock/{pen}"))
    assert body_of(shop.get(f"/stock/{pen}?at={then['updateTime']}")) == then
    newest, first = body_of(shop.get(f"/stock/{pen}/history"))["entries"]
    assert (newest["amount"], "price" in newest["after"]) == (0, False)
    assert first["after"]["price"] == Decimal("2.50")
    assert placed(shop, customer, pen, 1, None)["status"] == "SHIPPED"


def test_a_customer_can_not_set_prices(shop: StackClient) -> None:
    customer, gold = shop.new_customer(), new_product(shop, "499.00")

    answer = shop.post("/stock", {"productId": gold, "price": 0}, Authorization=shop.bearer(customer))

    assert answer.status_code == 401  # as for all that a token has no scope for
    assert body_of(shop.get(f"/stock/{gold}"))["price"] == Decimal("499.00")


def test_a_total_that_does_not_add_up_is_rejected_with_both_amounts(shop: StackClient) -> None:
    customer, gold = shop.new_customer(), new_product(shop, "499.00")
    items = [{"productId": gold, "qty": 50, "unitPrice": Decimal("499.00")}]

    answer = shop.post("/order", {"customerId": customer, "items": items, "totalAmount": 0})

    assert answer.status_code == 400
    assert body_of(answer)["errors"] == [
        {
            "field": "totalAmount",
            "message": "must be the sum of qty x unitPrice, which is 24950.00, not 0.00",
        }
    ]
