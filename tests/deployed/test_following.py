"""Clients follow their orders: by list, by ETag, by long polling."""

from __future__ import annotations

import time
import uuid
from urllib.parse import urljoin

import pytest

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


@pytest.mark.parametrize(("path", "key"), [("account", "customerId"), ("stock", "productId")])
def test_customers_and_products_can_be_paged_to_their_end(shop: StackClient, path: str, key: str) -> None:
    # given seven, one of which is deleted
    start = f"list-{uuid.uuid4()}"
    names = [f"{start}.{number}" for number in range(7)]
    for name in names:
        assert shop.post(f"/{path}", {key: name, "balance": 5}).status_code == 200
    assert shop.request("DELETE", f"/{path}/{names[3]}").status_code == 204
    # when
    pages, address = list[list[str]](), f"{path}?prefix={start}&limit=2"
    while address:
        page = shop.get(f"/{address}")
        assert page.status_code == 200, page.text
        ((_, rows),) = body_of(page).items()
        pages.append([row[key] for row in rows])
        assert [row["balance"] for row in rows] == [5] * len(rows)
        address = page.links.get("next", {}).get("url", "")
    # then
    assert pages == [names[:2], [names[2], names[4]], names[5:]]


def test_the_orders_of_all_can_be_paged_to_their_end(shop: StackClient) -> None:
    # given orders of several customers, all at once
    pen, customers = shop.new_product(100), [shop.new_customer() for _ in range(3)]
    bodies = [order_body(customers[number % 3], {pen: 1}, "1.00") for number in range(20)]
    placed = {order["orderId"] for order in body_of(shop.post("/orders", {"orders": bodies}))["orders"]}
    # when they are counted
    listed = eventually(
        lambda: all_orders(shop, limit=7), lambda orders: placed <= {order_id for _, order_id in orders}
    )
    # then each is there once, the newest second first
    assert placed <= {order_id for _, order_id in listed}
    assert len({order_id for _, order_id in listed}) == len(listed)
    assert listed == sorted(sorted(listed, key=lambda each: each[1]), key=lambda each: each[0], reverse=True)


def all_orders(shop: StackClient, limit: int) -> list[tuple[str, str]]:
    """The second and the id of each of the latest orders, of a few pages."""
    found, address = list[tuple[str, str]](), f"orders?limit={limit}"
    while address and len(found) < 150:
        page = shop.get(f"/{address}")
        assert page.status_code == 200, page.text
        found += [(order["createTime"][:19], order["orderId"]) for order in body_of(page)["orders"]]
        address = page.links.get("next", {}).get("url", "")
    return found


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
