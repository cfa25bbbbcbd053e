"""Repeated requests."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

import pytest

from tests.deployed.shop import Balances, StackClient, View, body_of, order_body


@dataclass(frozen=True)
class Request:
    """A request of the kind that is tested, and another that differs from it in one value."""

    path: str
    body: View
    other: View
    customer: str
    product: str
    money: Balances
    units: Balances


@pytest.fixture(params=["an order", "a batch", "a customer's adjustment", "a product's adjustment"])
def request_(request: pytest.FixtureRequest, shop: StackClient) -> Request:
    customer, product = shop.new_customer("100.00"), shop.new_product(10)
    order = order_body(customer, {product: 1}, "10.00")
    changed = order | {"totalAmount": Decimal("10.01")}
    match request.param:
        case "an order":
            path, body, other = "/order", order, changed
            money, units = Balances.of("90.00", settled="10.00"), Balances.of(9, settled=1)
        case "a batch":
            path, body, other = "/orders", {"orders": [order, order]}, {"orders": [order, changed]}
            money, units = Balances.of("80.00", settled="20.00"), Balances.of(8, settled=2)
        case "a customer's adjustment":
            path, body = "/account", {"customerId": customer, "adjust": Decimal("-0.05")}
            other = body | {"adjust": Decimal("-0.06")}
            money, units = Balances.of("99.95"), Balances.of(10)
        case _:
            path, body = "/stock", {"productId": product, "adjust": 5}
            other = body | {"adjust": 6}
            money, units = Balances.of("100.00"), Balances.of(15)
    return Request(path, body, other, customer, product, money, units)


def test_a_repeated_request_has_one_effect_and_one_answer(shop: StackClient, request_: Request) -> None:
    # given
    key = str(uuid.uuid4())
    first = shop.post(request_.path, request_.body, Idempotency_Key=key)
    shop.come_to_rest()
    # when
    second = shop.post(request_.path, request_.body, Idempotency_Key=key)
    # then
    assert first.status_code in (200, 202)
    assert (second.status_code, second.text) == (first.status_code, first.text)
    assert second.headers.get("Location") == first.headers.get("Location")
    shop.come_to_rest()
    assert shop.money(request_.customer) == request_.money
    assert shop.units(request_.product) == request_.units


def test_the_same_key_with_another_body_is_rejected_and_changes_nothing(
    shop: StackClient, request_: Request
) -> None:
    # given
    key = str(uuid.uuid4())
    shop.post(request_.path, request_.body, Idempotency_Key=key)
    # when
    answer = shop.post(request_.path, request_.other, Idempotency_Key=key)
    # then
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body_of(answer)["type"] == "urn:order-capture:problem:idempotency-key-reused"
    shop.come_to_rest()
    assert shop.money(request_.customer) == request_.money
    assert shop.units(request_.product) == request_.units


def test_the_same_request_under_another_key_is_another_request(shop: StackClient) -> None:
    # given
    alice = shop.new_customer("10.00")
    # when
    for _ in range(2):
        shop.post("/account", {"customerId": alice, "adjust": 1}, Idempotency_Key=str(uuid.uuid4()))
    # then
    assert shop.money(alice) == Balances.of("12.00")


def test_a_key_that_adjusted_one_customer_does_not_adjust_another(shop: StackClient) -> None:
    # given
    alice, bob, key = shop.new_customer("10.00"), shop.new_customer("10.00"), str(uuid.uuid4())
    shop.post("/account", {"customerId": alice, "adjust": 1}, Idempotency_Key=key)
    # when
    answer = shop.post("/account", {"customerId": bob, "adjust": 1}, Idempotency_Key=key)
    # then
    assert answer.status_code == 422
    assert (shop.money(alice), shop.money(bob)) == (Balances.of("11.00"), Balances.of("10.00"))


def test_a_repeated_request_that_was_invalid_is_invalid_again(shop: StackClient) -> None:
    key = str(uuid.uuid4())
    answers = [shop.post("/order", "{}", Idempotency_Key=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]


def test_a_repeated_cancellation_has_the_first_response(shop: StackClient) -> None:
    # given orders, until one is cancelled before it ships
    alice, pen, key = shop.new_customer("10.00"), shop.new_product(1), str(uuid.uuid4())
    answers = []
    for _ in range(10):
        order_id = shop.place(alice, {pen: 1}, "1.00")
        answers = [shop.post(f"/order/{order_id}/cancel", "", Idempotency_Key=key) for _ in range(2)]
        if answers[0].status_code == 200:
            break
        # shipping was quicker, which uses up no key
        assert [answer.status_code for answer in answers] == [409, 409]
    # then
    first, second = answers
    assert (second.status_code, second.text) == (first.status_code, first.text)


def test_one_key_is_another_one_for_each_operation(shop: StackClient) -> None:
    # given
    alice, pen, key = shop.new_customer("10.00"), shop.new_product(5), str(uuid.uuid4())
    order = order_body(alice, {pen: 1}, "1.00")
    # when
    answers = [
        shop.post("/order", order, Idempotency_Key=key),
        shop.post("/orders", {"orders": [order]}, Idempotency_Key=key),
        shop.post("/account", {"customerId": alice, "adjust": 1}, Idempotency_Key=key),
        shop.post("/stock", {"productId": pen, "adjust": 1}, Idempotency_Key=key),
    ]
    # then
    assert [answer.status_code for answer in answers] == [202, 202, 200, 200]
    assert not any("Idempotency-Replayed" in answer.headers for answer in answers)
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("9.00", settled="2.00")
