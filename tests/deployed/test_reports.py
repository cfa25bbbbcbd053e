"""The daily reports of the deployed system: every event is counted, and the sums match the orders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urljoin

from order_capture_ops import reports as ops_reports
from order_capture_ops.stack import Stack
from tests.deployed.shop import StackClient, View, body_of, eventually, order_body

ORDERS = 200


def products_of(shop: StackClient, product_ids: Iterable[str]) -> list[View]:
    """The rows of these products, which are one test's own, from all pages of the report."""
    now = datetime.now(UTC).date()
    address = f"daily?from={now - timedelta(days=1)}&to={now}&limit=100"
    rows = []
    while address:
        answer = shop.get(f"/reports/{address}")
        assert answer.status_code == 200, answer.text
        rows += [row for row in body_of(answer)["products"] if row["productId"] in product_ids]
        following = answer.links.get("next", {}).get("url", "")
        address = urljoin("/reports/", following).removeprefix("/reports/") if following else ""
    return rows


def summed(rows: Iterable[View], measure: str) -> Counter[str]:
    """The figures of several rows together, each reason as one of them."""
    total: Counter[str] = Counter()
    for row in rows:
        figures = dict(row[measure])
        refused = figures.pop("refused")
        total.update({name: int(number) for name, number in {**figures, **refused}.items()})
    return +total


def stack_of(shop: StackClient) -> Stack:
    session: Any = shop.aws
    return Stack("deployed", shop.outputs, {}, partial(session.client, endpoint_url=shop.endpoint))


def test_two_hundred_orders_are_reported_as_they_went(shop: StackClient) -> None:
    # given two hundred orders, twenty of them by a customer who can pay for five
    rich, poor = shop.new_customer("1000.00"), shop.new_customer("0.50")
    pen, ink = shop.new_product(), shop.new_product()
    bodies = [
        order_body(poor if n % 10 == 0 else rich, {pen: 1, ink: 1} if n % 2 else {pen: 2}, "0.10")
        for n in range(ORDERS)
    ]
    # when
    placed: list[str] = []
    for start in range(0, ORDERS, 50):
        answer = shop.post("/orders", {"orders": bodies[start : start + 50]})
        placed += [order["orderId"] for order in body_of(answer)["orders"]]
    orders = shop.all_ended(placed)
    statuses = Counter(order["status"] for order in orders)
    # then each of their events is counted: 1 of being placed, 1 of being refused, 2 of being shipped
    assert statuses == {"SHIPPED": 185, "REJECTED": 15}
    events = ORDERS + statuses["REJECTED"] + 2 * statuses["SHIPPED"]
    found = eventually(
        lambda: summed(products_of(shop, {pen}), "orders"),
        lambda found: found.total() == events,
    )
    shipped = statuses["SHIPPED"]
    assert found == {
        "placed": ORDERS,
        "confirmed": shipped,
        "shipped": shipped,
        "INSUFFICIENT_BALANCE": statuses["REJECTED"],
    }
    # and the shipped units are those that are settled in the books
    rows = products_of(shop, {pen, ink})
    for product in (pen, ink):
        units = summed((row for row in rows if row["productId"] == product), "units")
        assert units["shipped"] == shop.units(product).settled
    assert {row["day"] for row in rows} <= {order["createTime"][:10] for order in orders} | {
        order["updateTime"][:10] for order in orders
    }


def test_the_reports_match_the_orders_and_can_be_rebuilt_meanwhile(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(100)
    stack = stack_of(shop)
    # when
    placed = [shop.place(alice, {pen: 1}, "1.00") for _ in range(5)]
    ops_reports.rebuild_reports(stack)
    placed += [shop.place(alice, {pen: 1}, "1.00") for _ in range(5)]
    shop.all_ended(placed)
    # then
    report = eventually(
        lambda: ops_reports.check_reports(stack, grace_period=0), lambda report: not report.differences
    )
    assert report.differences == []
    assert report.orders >= len(placed)
    assert summed(products_of(shop, {pen}), "units") == {"placed": 10, "confirmed": 10, "shipped": 10}


def test_amounts_are_reported_for_the_whole_day(shop: StackClient) -> None:
    def shipped_amount() -> Decimal:
        now = datetime.now(UTC).date()
        answer = shop.get(f"/reports/daily?from={now - timedelta(days=1)}&to={now}&limit=1000")
        return sum((Decimal(str(day["amounts"]["shipped"])) for day in body_of(answer)["days"]), Decimal(0))

    # given a report that has come to rest
    shop.come_to_rest()
    eventually(
        lambda: ops_reports.check_reports(stack_of(shop), grace_period=0).differences, lambda found: not found
    )
    before = shipped_amount()
    # when
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    shop.ended(shop.place(alice, {pen: 2}, "12.34"))
    # then
    after = eventually(shipped_amount, lambda amount: amount != before)
    assert after - before == Decimal("12.34")


def test_an_invalid_report_request_has_its_reason(shop: StackClient) -> None:
    answer = shop.get("/reports/daily?from=2026-01-01&to=yesterday")

    assert answer.status_code == 400
    assert json.loads(answer.text)["errors"] == [
        {"field": "to", "message": "must be a date, like 2026-11-20"}
    ]
