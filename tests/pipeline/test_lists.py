"""Lists of all orders, accounts and stock for services and operators, page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.factories import SERVICE_CLAIMS, customer_claims
from tests.support.pipeline import Answer
from tests.support.shop import Shop, order_of


def listed(shop: Shop, address: str, claims: Mapping[str, str] = SERVICE_CLAIMS) -> Answer:
    answer = shop.pipeline.ask("GET", f"/{address}", claims=claims)
    assert answer.status == 200, answer.body
    return answer


def every_page(
    shop: Shop, address: str, claims: Mapping[str, str] = SERVICE_CLAIMS
) -> list[list[dict[str, Any]]]:
    """The content of each page, by following the links."""
    pages = []
    while address:
        answer = listed(shop, address, claims)
        ((_, rows),) = answer.body.items()
        pages.append(rows)
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
        address = link[1] if link else ""
    return pages


def ids(pages: list[list[dict[str, Any]]], name: str = "orderId") -> list[list[str]]:
    return [[row[name] for row in page] for page in pages]


class TestOrdersOfAll:
    def test_are_there_once_they_are_counted_newest_first_and_as_they_stand(self, shop: Shop) -> None:
        first = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.wait(1)
        second = shop.order(order_of("bob", 1000, pen=1))
        assert listed(shop, "orders").body == {"orders": []}

        shop.pipeline.run()

        assert listed(shop, "orders").body == {"orders": [shop.view(second), shop.view(first)]}

    def test_that_come_at_once_are_each_on_one_page(self, shop: Shop) -> None:
        for _ in range(3):
            shop.post({"orders": [order_of(f"customer-{number}", 1, pen=1) for number in range(15)]})
            shop.pipeline.wait(1)
        shop.pipeline.run()

        pages = every_page(shop, "orders?limit=4")

        orders = [order for page in pages for order in page]
        assert [len(page) for page in pages] == [4] * 11 + [1]
        assert len({order["orderId"] for order in orders}) == 45
        places = [(order["createTime"][:19], order["orderId"]) for order in orders]
        assert places == sorted(sorted(places, key=lambda place: place[1]), key=lambda p: p[0], reverse=True)

    def test_can_be_of_one_status_one_reason_and_one_time(self, shop: Shop) -> None:
        unpaid = shop.order(order_of("alice", 1000, pen=1))
        unknown = shop.order(order_of("alice", 1, unicorn=1))
        shop.pipeline.wait(5)
        shipped = shop.order(order_of("bob", 10, pen=1))
        shop.pipeline.run()
        time = shop.view(shipped)["createTime"]

        assert ids(every_page(shop, "orders?status=SHIPPED")) == [[shipped]]
        assert ids(every_page(shop, "orders?reason=INSUFFICIENT_BALANCE")) == [[unpaid]]
        assert ids(every_page(shop, "orders?reason=UNKNOWN_PRODUCT&customerId=alice")) == [[unknown]]
        assert ids(every_page(shop, f"orders?from={time}")) == [[shipped]]
        assert ids(every_page(shop, f"orders?to={time}&status=SHIPPED")) == [[shipped]]
        assert {*ids(every_page(shop, "orders?status=REJECTED"))[0]} == {unpaid, unknown}

    def test_are_for_a_customer_their_own_whoever_they_ask_for(self, shop: Shop) -> None:
        own = shop.order(order_of("alice", 10, pen=1))
        shop.order(order_of("bob", 10, pen=1))
        shop.pipeline.run()
        alice = customer_claims("alice")

        assert ids(every_page(shop, "orders", alice)) == [[own]]
        assert ids(every_page(shop, "orders?customerId=alice", alice)) == [[own]]
        assert shop.pipeline.ask("GET", "/orders?customerId=bob", claims=alice).status == 403

    def test_of_the_last_sixty_days_are_all_that_are_shown(self, shop: Shop) -> None:
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        shop.pipeline.wait(61 * 24 * 60 * 60)
        later = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        assert ids(every_page(shop, "orders?from=2020-01-01T00:00:00Z")) == [[later]]
        assert len(ids(every_page(shop, "orders?customerId=alice"))[0]) == 2


@pytest.mark.parametrize(("path", "key"), [("account", "customerId"), ("stock", "productId")])
class TestBalances:
    def opened(self, shop: Shop, path: str, key: str, *names: str) -> list[str]:
        for name in names:
            answer = shop.pipeline.ask("POST", f"/{path}", {key: name, "balance": 5})
            assert answer.status == 200
        return [*names]

    def test_are_all_there_are_by_id_as_each_is_shown_alone(self, shop: Shop, path: str, key: str) -> None:
        self.opened(shop, path, key, "zoe", "Zoe", "aaron")
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        (page,) = every_page(shop, f"{path}?limit=100")

        names = [row[key] for row in page]
        assert names == sorted(names)
        assert {"zoe", "Zoe", "aaron"} < {*names}
        for row in page:
            assert row == shop.pipeline.ask("GET", f"/{path}/{row[key]}").body

    def test_can_be_of_those_whose_id_begins_so_page_by_page(self, shop: Shop, path: str, key: str) -> None:
        names = self.opened(shop, path, key, *[f"x.{number:02}" for number in range(7)])
        self.opened(shop, path, key, "X.00", "x", "y")

        assert ids(every_page(shop, f"{path}?prefix=x.&limit=3"), key) == [names[:3], names[3:6], names[6:]]
        assert ids(every_page(shop, f"{path}?prefix=nobody"), key) == [[]]

    def test_of_what_was_deleted_are_left_out_until_it_is_back(self, shop: Shop, path: str, key: str) -> None:
        self.opened(shop, path, key, "x1", "x2", "x3")
        for name in ("x1", "x3"):
            assert shop.pipeline.ask("DELETE", f"/{path}/{name}").status == 204
        assert ids(every_page(shop, f"{path}?prefix=x"), key) == [["x2"]]

        self.opened(shop, path, key, "x1")
        assert ids(every_page(shop, f"{path}?prefix=x"), key) == [["x1", "x2"]]

    def test_have_a_problem_that_names_each_invalid_parameter(self, shop: Shop, path: str, key: str) -> None:
        answer = shop.pipeline.ask("GET", f"/{path}?limit=0&prefix=a/b&cursor=x")

        assert answer.status == 400
        assert {error["field"] for error in answer.body["errors"]} == {"limit", "prefix", "cursor"}
