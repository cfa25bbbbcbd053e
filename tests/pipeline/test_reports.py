"""The daily reports count every event once, and equal the books, despite all faults."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from order_capture.adapters.serializers import decimal_json
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

NOTHING = {"placed": 0, "confirmed": 0, "shipped": 0, "cancelled": 0, "expired": 0, "refused": {}}


def report(pipeline: Pipeline) -> dict[str, Any]:
    """The report of the current days, all pages."""
    now = datetime.now(UTC)
    since, until = ((now + timedelta(days=days)).date().isoformat() for days in (-1, 60))
    path = f"daily?from={since}&to={until}&limit=2"
    found: dict[str, list[dict[str, Any]]] = {"days": [], "products": []}
    while path:
        answer = pipeline.ask("GET", f"/reports/{path}")
        assert answer.status == 200, answer.body
        for name, rows in found.items():
            rows.extend(answer.body[name])
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    return found


def expected(shop: Shop, order_ids: list[str]) -> dict[str, Any]:
    """The expected report, computed from the orders as clients see them."""
    days: dict[str, dict[str, Counter[str]]] = {}
    amounts: dict[tuple[str, str], Decimal] = {}
    products: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for view in map(shop.view, order_ids):
        for line in view["logs"]:
            time, words = line.split(" ", 1)
            what = {"order received": "placed"}.get(words, words.partition(":")[0])
            if what not in (*NOTHING, "rejected"):
                continue
            day = time[:10]
            figure = "refused " + words.split()[1] if what == "rejected" else what
            days.setdefault(day, {"orders": Counter()})["orders"][figure] += 1
            if figure in ("placed", "shipped"):
                total = Decimal(str(view["totalAmount"]))
                amounts[day, figure] = amounts.get((day, figure), Decimal(0)) + total
            for product in {item["productId"] for item in view["items"]}:
                row = products.setdefault((day, product), {"orders": Counter(), "units": Counter()})
                row["orders"][figure] += 1
                row["units"][figure] += sum(i["qty"] for i in view["items"] if i["productId"] == product)
    return {
        "days": [
            {
                "day": day,
                "orders": counts(row["orders"]),
                "amounts": {name: amounts.get((day, name), Decimal(0)) for name in ("placed", "shipped")},
            }
            for day, row in sorted(days.items())
        ],
        "products": [
            {"day": day, "productId": product, **{name: counts(row[name]) for name in ("orders", "units")}}
            for (day, product), row in sorted(products.items())
        ],
    }


def counts(figures: Counter[str]) -> dict[str, Any]:
    refused = {name.split()[1]: number for name, number in figures.items() if name.startswith("refused")}
    return {name: figures[name] for name in NOTHING if name != "refused"} | {"refused": refused}


def some_orders(shop: Shop) -> list[str]:
    """Orders with every final status, and a small batch."""
    ids = [shop.order(order_of("alice", total, pen=1, ink=1)) for total in (0.10, 0.20, 0.30)]
    ids += [shop.order(order_of("bob", 100, pen=1)), shop.order(order_of("nobody", 1, pen=1))]
    ids += [shop.order(order_of("alice", 1, pen=50, ink=2)), shop.order(order_of("alice", 1, unicorn=1))]
    called_off = shop.order(order_of("alice", 5, ink=1))
    assert shop.cancel(called_off).status == 200
    return [*ids, called_off]


def test_every_outcome_is_counted_and_the_report_matches_the_orders(shop: Shop) -> None:
    orders = some_orders(shop)
    shop.pipeline.run()

    found = report(shop.pipeline)

    assert found == expected(shop, orders)
    (day,) = found["days"]
    assert day["orders"] == {
        "placed": 8,
        "confirmed": 3,
        "shipped": 3,
        "cancelled": 1,
        "expired": 0,
        "refused": {
            "INSUFFICIENT_BALANCE": 1,
            "UNKNOWN_CUSTOMER": 1,
            "INSUFFICIENT_STOCK": 1,
            "UNKNOWN_PRODUCT": 1,
        },
    }
    assert day["amounts"]["shipped"] == Decimal("0.60")
    stock = {row["productId"]: row["units"] for row in found["products"]}
    assert [stock[name]["shipped"] for name in ("pen", "ink")] == [3, 3]
    assert [shop.stock(name)[2] for name in ("pen", "ink")] == [3, 3], "what is settled has shipped"
    assert shop.account("alice")[2] == day["amounts"]["shipped"]


def test_orders_that_expire_are_counted_on_the_day_on_which_they_do(shop: Shop) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    for name in ("balance_checker", "stock_checker"):
        shop.pipeline.held_up(name)
    shop.pipeline.wait(24 * 60 * 60)
    shop.pipeline.run()

    placed, expired = report(shop.pipeline)["days"]

    assert placed["orders"] == NOTHING | {"placed": 1}
    assert expired["orders"] == NOTHING | {"expired": 1}
    assert {"days": [placed, expired]}["days"] == expected(shop, [order_id])["days"]


@pytest.mark.full
def test_repeated_and_reordered_events_are_counted_once(shop: Shop) -> None:
    orders = some_orders(shop)
    shop.pipeline.run(times=2)
    shop.pipeline.redeliver_everything()
    shop.pipeline.run(times=3)

    assert report(shop.pipeline) == expected(shop, orders)


def held_up_events(shop: Shop) -> list[str]:
    """The orders' events, none of which is counted yet."""
    events: list[str] = []
    for _ in range(20):
        shop.pipeline.publish_changes()
        events += shop.pipeline.held_up("report_projector")
        for name in ("balance_checker", "stock_checker", "order_update", "ship_order"):
            shop.pipeline.deliver(name)
    return events


def test_events_out_of_order_are_counted(shop: Shop) -> None:
    orders = some_orders(shop)
    late = held_up_events(shop)
    assert report(shop.pipeline) == {"days": [], "products": []}
    for body in reversed(late):
        shop.pipeline.put("report_projector", body)
    shop.pipeline.run()

    assert report(shop.pipeline) == expected(shop, orders)


@pytest.mark.parametrize("operation", ["dynamodb.TransactWriteItems", "dynamodb.GetItem"])
def test_a_failed_count_is_retried(shop: Shop, operation: str) -> None:
    orders = some_orders(shop)
    for body in held_up_events(shop):
        shop.pipeline.put("report_projector", body)
    with shop.pipeline.refusing(operation):
        shop.pipeline.deliver("report_projector")
    shop.pipeline.run()

    assert report(shop.pipeline) == expected(shop, orders)
    assert shop.pipeline.dead_letters("report_projector") == []


def test_a_write_whose_answer_is_lost_is_not_made_twice(shop: Shop) -> None:
    orders = [shop.order(order_of("alice", 10, pen=1))]
    shop.pipeline.publish_changes()
    with shop.pipeline.losing_an_answer("dynamodb.TransactWriteItems"):
        shop.pipeline.deliver("report_projector")
    shop.pipeline.run()

    assert report(shop.pipeline) == expected(shop, orders)


def test_an_unreadable_event_is_dead_lettered_by_the_reports_only(shop: Shop) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    (body,) = shop.pipeline.held_up("report_projector")
    poison = decimal_json.dumps(decimal_json.loads(body) | {"time": "2026-11-20"})
    shop.pipeline.put("report_projector", poison)
    shop.pipeline.put("report_projector", body)
    shop.pipeline.run()

    assert shop.pipeline.dead_letters("report_projector") == [poison]
    assert shop.pipeline.dead_letters("order_update") == []
    assert report(shop.pipeline) == expected(shop, [order_id])


def test_an_event_that_is_too_old_is_dead_lettered_and_not_counted_twice(shop: Shop) -> None:
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    bodies = [body for name, body in shop.pipeline.delivered if name == "report_projector"]
    shop.pipeline.wait(46 * 24 * 60 * 60)
    for body in bodies:
        shop.pipeline.put("report_projector", body)
    shop.pipeline.run()

    assert sorted(shop.pipeline.dead_letters("report_projector")) == sorted(bodies)
    assert report(shop.pipeline) == expected(shop, [order_id])


def test_all_events_of_a_window_are_three_calls(shop: Shop) -> None:
    shop.open({"carol": 1000}, {"nib": 1000})
    shop.post({"orders": [order_of("carol", 1, nib=1)] * 20})
    on_the_way = ("balance_checker", "stock_checker", "order_update", "ship_order")
    while shop.pipeline.publish_changes() + sum(shop.pipeline.deliver(name) for name in on_the_way):
        pass
    before = len(shop.pipeline.calls)

    assert shop.pipeline.deliver("report_projector") == 60

    assert shop.pipeline.calls[before:] == [
        "dynamodb.GetItem",
        "dynamodb.Query",
        "dynamodb.TransactWriteItems",
    ]


def test_report_requests_are_bounded(pipeline: Pipeline) -> None:
    answer = pipeline.ask("GET", "/reports/daily?from=2026-01-01&to=2026-12-31")

    assert answer.status == 400
    assert answer.body["errors"] == [{"field": "to", "message": "must be less than 92 days after from"}]
