"""Clients follow their orders: by list, by tag, by waiting."""

from __future__ import annotations

import time
from urllib.parse import urljoin

from tests.deployed.shop import StackClient, body_of, eventually, order_body


def test_a_long_poll_returns_the_terminal_status_in_one_request(shop: StackClient) -> None:
    # given
    nobody, pen = "nobody", shop.new_product(1)
    order_id = body_of(shop.post("/order", order_body(nobody, {pen: 1}, "1.00")))["orderId"]
    # when
    answer = shop.get(f"/order/{order_id}/status?wait=20")
    # then
    assert (answer.status_code, body_of(answer)["status"]) == (200, "REJECTED")


def test_a_long_poll_without_a_change_ends_after_its_time(shop: StackClient) -> None:
    # given an ended order, and an unknown one
    alice, pen = shop.new_customer("1.00"), shop.new_product(1)
    order_id = body_of(shop.post("/order", order_body(alice, {pen: 1}, "1.00")))["orderId"]
    shop.ended(order_id)
    tag = shop.get(f"/order/{order_id}").headers["ETag"]
    # when
    began = time.monotonic()
    answer = shop.get(f"/order/{order_id}?wait=20", If_None_Match=tag)
    # then it is over, and there is nothing to wait for
    assert (answer.status_code, answer.text) == (304, "")
    assert answer.headers["ETag"] == tag
    assert "Retry-After" not in answer.headers
    assert time.monotonic() - began < 15
    assert shop.get("/order/unheard-of?wait=20").status_code == 404


def test_a_list_can_be_paged_to_its_end(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    placed = [body_of(shop.post("/order", order_body(alice, {pen: 1}, "1.00")))["orderId"] for _ in range(5)]
    eventually(
        lambda: body_of(shop.get(f"/orders?customerId={alice}&limit=100"))["orders"],
        lambda orders: len(orders) == 5,
    )
    # when
    listed, address = [], f"orders?customerId={alice}&limit=2"
    while address:
        page = shop.get(f"/{address}")
        listed += [order["orderId"] for order in body_of(page)["orders"]]
        following = page.links.get("next", {}).get("url", "")
        address = urljoin("/orders", following).removeprefix("/") if following else ""
    # then
    assert listed == placed[::-1]
    for order_id in placed:
        shop.ended(order_id)
    shipped = body_of(shop.get(f"/orders?customerId={alice}&status=SHIPPED"))["orders"]
    assert [order["orderId"] for order in shipped] == listed
