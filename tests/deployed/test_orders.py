"""The outcomes of orders, and the books."""

from __future__ import annotations

import uuid
from decimal import Decimal
from functools import partial

import pytest

from tests.deployed.shop import Balances, StackClient, body_of, eventually, order_body

HELD = {"outcome": "HELD", "code": None, "available": None}


def test_an_order_is_accepted_at_once_and_found_at_its_location(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    # when
    answer = shop.post("/order", order_body(alice, {pen: 2}, "25.50"), X_Correlation_Id="checkout-7731")
    # then
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "1"
    placed = body_of(answer)
    assert placed["status"] == "PENDING"
    assert placed["items"] == [{"productId": pen, "qty": 2}]
    assert (placed["customerId"], placed["totalAmount"]) == (alice, Decimal("25.50"))
    assert placed["checks"] == {"balance": None, "stock": None}
    assert len(placed["logs"]) == 1
    assert placed["createTime"] == placed["updateTime"]

    found = shop.follow(answer)
    assert found.status_code == 200
    unchanging = ("orderId", "customerId", "items", "totalAmount", "createTime", "correlationId")
    assert {name: body_of(found)[name] for name in unchanging} == {name: placed[name] for name in unchanging}


def test_an_order_ships_and_the_books_add_up(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    # when
    order = shop.ended(shop.place(alice, {pen: 2}, "25.50"))
    # then
    assert order["status"] == "SHIPPED"
    assert order["checks"] == {
        "balance": HELD | {"id": alice, "asked": Decimal("25.50")},
        "stock": HELD | {"id": pen, "asked": 2},
    }
    times, messages = zip(*(line.split(" ", 1) for line in order["logs"]), strict=True)
    assert messages[0] == "order received"
    assert set(messages[1:3]) == {"balance HELD 25.50", "stock HELD 2"}
    assert messages[3:] == ("confirmed", "shipped")
    assert times == tuple(sorted(times))
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("74.50", settled="25.50")
    assert shop.units(pen) == Balances.of(8, settled=2)


def test_the_status_resource_has_the_status_and_the_reason(shop: StackClient) -> None:
    order = shop.ended(shop.place(shop.new_customer("1.00"), {shop.new_product(): 1}, "2.00"))
    shop.come_to_rest()
    order = shop.order(order["orderId"])
    status = shop.get(f"/order/{order['orderId']}/status")
    assert status.status_code == 200
    assert body_of(status) == {name: order[name] for name in ("orderId", "status", "logs", "checks")}


@pytest.mark.parametrize(
    ("credit", "units", "check", "code", "requested", "available"),
    [
        pytest.param("10.00", 9, "balance", "INSUFFICIENT_BALANCE", "25.50", "10.00", id="too little credit"),
        pytest.param("99.00", 2, "stock", "INSUFFICIENT_STOCK", "3", "2", id="too little stock"),
        pytest.param(None, 9, "balance", "UNKNOWN_CUSTOMER", "25.50", None, id="unknown customer"),
        pytest.param("99.00", None, "stock", "UNKNOWN_PRODUCT", "3", None, id="unknown product"),
    ],
)
def test_a_rejected_order_has_its_reason_and_costs_nothing(
    shop: StackClient,
    credit: str | None,
    units: int | None,
    check: str,
    code: str,
    requested: str,
    available: str | None,
) -> None:
    # given
    customer = shop.new_customer(credit) if credit else "nobody"
    product = shop.new_product(units) if units else "nothing"
    # when
    order = shop.ended(shop.place(customer, {product: 3}, "25.50"))
    # then
    assert order["status"] == "REJECTED"
    assert order["checks"][check] == {
        "outcome": "DECLINED",
        "code": code,
        "id": customer if check == "balance" else product,
        "asked": Decimal(requested),
        "available": None if available is None else Decimal(available),
    }
    assert any(line.endswith(f"rejected: {code}") for line in order["logs"])
    if available is not None:
        assert any(f"asked {requested}, available {available}" in line for line in order["logs"])
    shop.come_to_rest()
    if credit:
        assert shop.money(customer) == Balances.of(credit), "nothing stays held"
    if units:
        assert shop.units(product) == Balances.of(units), "nothing stays held"


def test_an_order_of_several_products_ships_as_a_whole(shop: StackClient) -> None:
    # given
    alice = shop.new_customer("100.00")
    pen, ink, paper = shop.new_product(5), shop.new_product(5), shop.new_product(5)
    # when
    order = shop.ended(shop.place(alice, {pen: 1, ink: 2, paper: 5}, "60.00"))
    # then
    assert order["status"] == "SHIPPED"
    assert order["checks"]["stock"] == HELD | {"id": None, "asked": 8}
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("40.00", settled="60.00")
    assert [shop.units(product) for product in (pen, ink, paper)] == [
        Balances.of(4, settled=1),
        Balances.of(3, settled=2),
        Balances.of(0, settled=5),
    ]


def test_an_order_with_one_product_short_holds_none_of_the_others(shop: StackClient) -> None:
    # given
    alice = shop.new_customer("100.00")
    pen, ink, paper = shop.new_product(5), shop.new_product(1), shop.new_product(5)
    # when
    order = shop.ended(shop.place(alice, {pen: 1, ink: 2, paper: 1}, "60.00"))
    # then
    assert order["status"] == "REJECTED"
    refusal = order["checks"]["stock"]
    assert (refusal["code"], refusal["id"]) == ("INSUFFICIENT_STOCK", ink)
    assert (refusal["asked"], refusal["available"]) == (2, 1)
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("100.00")
    assert [shop.units(product) for product in (pen, ink, paper)] == [
        Balances.of(5),
        Balances.of(1),
        Balances.of(5),
    ]


@pytest.mark.parametrize(("units", "status"), [(5, "SHIPPED"), (4, "REJECTED")])
def test_two_lines_of_one_product_are_summed(shop: StackClient, units: int, status: str) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(units)
    # when
    order = shop.ended(shop.place(alice, [(pen, 2), (pen, 3)], "10.00"))
    # then
    assert order["status"] == status
    assert order["items"] == [{"productId": pen, "qty": 2}, {"productId": pen, "qty": 3}]
    assert order["checks"]["stock"]["asked"] == 5
    shop.come_to_rest()
    shipped = 5 if status == "SHIPPED" else 0
    assert shop.units(pen) == Balances.of(units - shipped, settled=shipped)


def test_a_batch_of_several_customers_is_answered_in_order_and_an_invalid_order_stops_no_other(
    shop: StackClient,
) -> None:
    # given
    alice, bob, carol = (shop.new_customer("50.00") for _ in range(3))
    pen = shop.new_product(10)
    good = [order_body(who, {pen: qty}, "20.00") for who, qty in ((alice, 1), (bob, 2), (carol, 3))]
    bad = order_body(bob, {pen: 0}, "20.00")
    # when
    answer = shop.post("/orders", {"orders": [good[0], bad, good[1], good[2]]})
    # then
    assert answer.status_code == 202
    first, refused, second, third = body_of(answer)["orders"]
    assert refused.keys() == {"problem"}
    assert refused["problem"]["status"] == 400
    assert [error["field"] for error in refused["problem"]["errors"]] == ["orders[1].items[0].qty"]
    for sent, placed in zip(good, (first, second, third), strict=True):
        assert placed["status"] == "PENDING"
        assert {name: placed[name] for name in sent} == sent
    ended = shop.all_ended(placed["orderId"] for placed in (first, second, third))
    assert [order["status"] for order in ended] == ["SHIPPED"] * 3
    shop.come_to_rest()
    assert [shop.money(who) for who in (alice, bob, carol)] == [Balances.of("30.00", settled="20.00")] * 3
    assert shop.units(pen) == Balances.of(4, settled=6)


def test_a_batch_of_a_hundred_orders_ships(shop: StackClient) -> None:
    # given: ten customers and five products, so that orders meet at both
    customers = [shop.new_customer("1000.00") for _ in range(10)]
    products = [shop.new_product(1000) for _ in range(5)]
    sent = [
        order_body(customers[number % 10], {products[number // 20]: 1 + number % 3}, f"{number}.25")
        for number in range(100)
    ]
    # when
    answer = shop.post("/orders", {"orders": sent})
    # then
    assert answer.status_code == 202
    placed = body_of(answer)["orders"]
    assert [{name: order[name] for name in sent[0]} for order in placed] == sent
    ended = shop.all_ended(order["orderId"] for order in placed)
    assert {order["status"] for order in ended} == {"SHIPPED"}
    shop.come_to_rest()
    for number, customer in enumerate(customers):
        spent = sum(range(number, 100, 10)) + Decimal("2.50")
        assert shop.money(customer) == Balances(1000 - spent, Decimal(0), spent)
    for number, product in enumerate(products):
        shipped = sum(1 + each % 3 for each in range(number * 20, number * 20 + 20))
        assert shop.units(product) == Balances.of(1000 - shipped, settled=shipped)


def test_a_clients_correlation_id_is_returned_and_propagated(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    name = f"trace-{uuid.uuid4()}"  # no customer's id: no log has one
    # when
    answer = shop.post("/order", order_body(alice, {pen: 1}, "1.00"), X_Correlation_Id=name)
    # then
    assert answer.headers["X-Correlation-Id"] == name
    order_id = body_of(answer)["orderId"]
    order = shop.ended(order_id)
    assert order["correlationId"] == name
    shop.come_to_rest()
    for function in ("BalanceChecker", "StockChecker", "OrderUpdate", "ShipOrder"):
        lines = eventually(partial(shop.log_lines, function, name), bool)
        assert lines, f"{function} logs what it does for whom"
        assert all(order_id in line for line in lines)


def test_a_response_always_has_a_correlation_id(shop: StackClient) -> None:
    answer = shop.post(
        "/order", order_body(shop.new_customer(), {shop.new_product(): 1}, "1.00"), X_Request="any"
    )
    assert body_of(answer)["correlationId"] == answer.headers["X-Correlation-Id"] != ""


@pytest.mark.parametrize(
    ("path", "name", "product"), [("/account", "customerId", False), ("/stock", "productId", True)]
)
def test_a_balance_is_set_adjusted_and_read(shop: StackClient, path: str, name: str, product: bool) -> None:
    # given
    who = shop.new_product(100) if product else shop.new_customer("100.00")
    # when
    answers = [
        shop.post(path, {name: who, "adjust": 20}),
        shop.post(path, {name: who, "adjust": -70}),
        shop.post(path, {name: who, "balance": 7}),
    ]
    # then
    assert [answer.status_code for answer in answers] == [200] * 3
    views = [body_of(answer) for answer in answers]
    assert [view["balance"] for view in views] == [120, 50, 7]
    times = [view["updateTime"] for view in views]
    assert times == sorted(times)
    assert body_of(shop.get(f"{path}/{who}")) == views[-1]
    assert views[-1] == {name: who, "balance": 7, "held": 0, "settled": 0, "updateTime": times[-1]}
