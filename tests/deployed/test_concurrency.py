"""Many concurrent clients."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from decimal import Decimal

import httpx
import pytest

from tests.deployed.shop import Balances, StackClient, at_once, body_of, eventually, order_body


def test_of_forty_simultaneous_orders_for_the_last_five_units_exactly_five_ship(shop: StackClient) -> None:
    # given: everybody can pay, and there are five left
    customers = [shop.new_customer("20.00") for _ in range(8)]
    pen = shop.new_product(5)
    # when
    placed = at_once(40, lambda number: shop.place(customers[number % 8], {pen: 1}, "3.00"))
    orders = shop.all_ended(placed)
    # then
    assert len(set(placed)) == 40
    assert Counter(order["status"] for order in orders) == {"SHIPPED": 5, "REJECTED": 35}
    for order in orders:
        if order["status"] == "REJECTED":
            refusal = order["checks"]["stock"]
            assert (refusal["code"], refusal["id"]) == ("INSUFFICIENT_STOCK", pen)
            assert (refusal["asked"], refusal["available"]) == (1, 0)
    shop.come_to_rest()
    assert shop.units(pen) == Balances.of(0, settled=5)
    spent = Counter(order["customerId"] for order in orders if order["status"] == "SHIPPED")
    for customer in customers:
        cost = Decimal("3.00") * spent[customer]
        assert shop.money(customer) == Balances(Decimal("20.00") - cost, Decimal(0), cost)


@pytest.mark.full
def test_of_forty_simultaneous_orders_a_customer_pays_for_as_many_as_the_balance_allows(
    shop: StackClient,
) -> None:
    # given
    alice, pen = shop.new_customer("21.50"), shop.new_product(100)
    # when
    orders = shop.all_ended(at_once(40, lambda _: shop.place(alice, {pen: 2}, "3.00")))
    # then
    assert Counter(order["status"] for order in orders) == {"SHIPPED": 7, "REJECTED": 33}
    refusals = [order["checks"]["balance"] for order in orders if order["status"] == "REJECTED"]
    assert {refusal["code"] for refusal in refusals} == {"INSUFFICIENT_BALANCE"}
    assert {refusal["available"] for refusal in refusals} == {Decimal("0.50")}
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("0.50", settled="21.00")
    assert shop.units(pen) == Balances.of(86, settled=14)


def test_simultaneous_requests_with_one_key_are_one_order_with_one_answer(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(50)
    body, key = order_body(alice, {pen: 1}, "10.00"), str(uuid.uuid4())

    def order(_: int) -> list[httpx.Response]:
        answers = [shop.post("/order", body, Idempotency_Key=key)]
        while answers[-1].status_code == 409:  # the first of them is still running
            assert body_of(answers[-1])["type"].endswith(":request-running")
            time.sleep(int(answers[-1].headers["Retry-After"]))
            answers.append(shop.post("/order", body, Idempotency_Key=key))
        return answers

    # when
    answers = [tries[-1] for tries in at_once(20, order)]
    # then
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len([answer for answer in answers if "Idempotency-Replayed" not in answer.headers]) == 1
    assert shop.ended(body_of(answers[0])["orderId"])["status"] == "SHIPPED"
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("90.00", settled="10.00")
    assert shop.units(pen) == Balances.of(49, settled=1)


@pytest.mark.full
def test_forty_simultaneous_adjustments_add_up_exactly(shop: StackClient) -> None:
    # given
    alice = shop.new_customer("100.00")

    def adjust(number: int) -> httpx.Response:
        # A client that gets a 503, or a 502 or 504 from the gateway, sends
        # the same request again: the key makes it the same.
        body = {"customerId": alice, "adjust": Decimal("1.01") if number % 2 else Decimal("-0.25")}
        key = str(uuid.uuid4())
        return eventually(
            lambda: shop.post("/account", body, Idempotency_Key=key),
            lambda answer: answer.status_code not in {502, 503, 504},
        )

    # when
    answers = at_once(40, adjust)
    # then
    assert Counter(answer.status_code for answer in answers) == {200: 40}
    assert shop.money(alice) == Balances.of("115.20")  # 100 + 20 x 1.01 - 20 x 0.25
    assert Decimal("115.20") in {body_of(answer)["balance"] for answer in answers}, "the last one's answer"


def test_orders_and_adjustments_of_one_product_do_not_lose_each_other(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("1000.00"), shop.new_product(10)

    def order_or_restock(number: int) -> str | None:
        if number % 2:
            return shop.place(alice, {pen: 1}, "1.00")
        body, key = {"productId": pen, "adjust": 2}, str(uuid.uuid4())
        answer = eventually(
            lambda: shop.post("/stock", body, Idempotency_Key=key), lambda answer: answer.status_code != 503
        )
        assert answer.status_code == 200, answer.text
        return None

    # when
    placed = [order_id for order_id in at_once(20, order_or_restock) if order_id]
    # then
    assert {order["status"] for order in shop.all_ended(placed)} == {"SHIPPED"}
    shop.come_to_rest()
    assert shop.units(pen) == Balances.of(20, settled=10)
    assert shop.money(alice) == Balances.of("990.00", settled="10.00")
