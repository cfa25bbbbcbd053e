"""Clients' requests besides placing an order: lists, status changes, and all-or-nothing batches."""

from __future__ import annotations

import re
import urllib.parse

from tests.support.pipeline import Answer
from tests.support.shop import Shop, order_of


def listed(shop: Shop, query: str) -> Answer:
    answer = shop.pipeline.ask("GET", f"/orders?{query}")
    assert answer.status == 200
    return answer


def ids(answer: Answer) -> list[str]:
    return [order["orderId"] for order in answer.body["orders"]]


def every_page(shop: Shop, query: str) -> list[list[str]]:
    """The ids on each page, by following the links."""
    pages: list[list[str]] = []
    while query:
        answer = listed(shop, query)
        pages.append(ids(answer))
        link = re.fullmatch(r'<orders\?(.+)>; rel="next"', answer.headers.get("Link", ""))
        query = link[1] if link else ""
    return pages


class TestAList:
    def test_has_a_customers_own_orders_as_they_stand_newest_first(self, shop: Shop) -> None:
        first = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.wait(1)
        second = shop.order(order_of("alice", 1000, pen=1))
        shop.order(order_of("bob", 5, pen=1))
        shop.pipeline.run()

        answer = listed(shop, "customerId=alice")

        assert answer.body["orders"] == [shop.view(second), shop.view(first)]
        assert "Link" not in answer.headers

    def test_can_be_paged_to_its_end(self, shop: Shop) -> None:
        placed = []
        for _ in range(5):
            shop.pipeline.wait(1)
            placed.append(shop.order(order_of("alice", 1, pen=1)))

        pages = every_page(shop, "customerId=alice&limit=2")

        assert [len(page) for page in pages] == [2, 2, 1]
        assert [order_id for page in pages for order_id in page] == placed[::-1]

    def test_can_be_of_one_status_and_of_one_time(self, shop: Shop) -> None:
        rejected = shop.order(order_of("alice", 1000, pen=1))
        shop.pipeline.wait(60)
        shipped = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        time = urllib.parse.quote(shop.view(shipped)["createTime"])

        assert ids(listed(shop, "customerId=alice&status=SHIPPED")) == [shipped]
        assert ids(listed(shop, f"customerId=alice&from={time}")) == [shipped]
        assert ids(listed(shop, f"customerId=alice&to={time}")) == [shipped, rejected]
        assert ids(listed(shop, f"customerId=alice&status=REJECTED&from={time}")) == []

    def test_of_an_unknown_customer_is_empty(self, shop: Shop) -> None:
        assert listed(shop, "customerId=nobody").body == {"orders": []}

    def test_has_a_problem_that_names_its_invalid_parameters(self, shop: Shop) -> None:
        answer = shop.pipeline.ask("GET", "/orders?limit=1000&stauts=SHIPPED&customerId=alice")

        assert answer.status == 400
        assert answer.body["errors"] == [{"field": "stauts", "message": "is not a parameter of this request"}]


class TestNews:
    def test_of_an_order_that_has_not_changed_is_a_304(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        tag = shop.pipeline.ask("GET", f"/order/{order_id}").headers["ETag"]

        for path in (f"/order/{order_id}", f"/order/{order_id}/status"):
            answer = shop.pipeline.ask("GET", path, headers={"If-None-Match": tag})

            assert (answer.status, answer.body) == (304, None)
            assert (answer.headers["ETag"], answer.headers["Retry-After"]) == (tag, "1")

    def test_of_an_order_that_has_changed_is_the_order_with_another_tag(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        tags = [shop.pipeline.ask("GET", f"/order/{order_id}").headers["ETag"]]
        shop.pipeline.run()

        answer = shop.pipeline.ask("GET", f"/order/{order_id}", headers={"If-None-Match": tags[0]})

        assert (answer.status, answer.body["status"]) == (200, "SHIPPED")
        assert answer.headers["ETag"] not in tags
        assert "Retry-After" not in answer.headers

    def test_that_is_reached_already_is_returned_at_once(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        answer = shop.pipeline.ask(
            "GET", f"/order/{order_id}/status?wait=20", headers={"If-None-Match": 'W/"0"'}
        )

        assert (answer.status, answer.body["status"]) == (200, "PENDING")

    def test_that_takes_too_long_is_requested_again(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        answer = shop.pipeline.ask("GET", f"/order/{order_id}?wait=1", headers={"If-None-Match": 'W/"1"'})

        assert answer.status == 304

    def test_is_not_waited_for_longer_than_the_gateway_does(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        answer = shop.pipeline.ask("GET", f"/order/{order_id}?wait=21")

        assert answer.body["errors"] == [{"field": "wait", "message": "must be at most 20"}]


class TestABatchOfAllOrNothing:
    def test_leaves_nothing_behind_when_one_is_not_valid(self, shop: Shop) -> None:
        bad = order_of("alice", 10, pen=0)

        answer = shop.post(
            {"orders": [order_of("alice", 10, pen=1), bad], "errorPolicy": "REJECT_ALL"}, "key-1"
        )

        assert answer.status == 400
        assert answer.body["errors"] == [{"field": "orders[1].items[0].qty", "message": "must be at least 1"}]
        assert shop.pipeline.order_ids() == []

    def test_may_be_corrected_and_sent_again_with_the_same_key(self, shop: Shop) -> None:
        batch = {"orders": [order_of("alice", 10, pen=0)], "errorPolicy": "REJECT_ALL"}
        shop.post(batch, "key-1")

        answer = shop.post({**batch, "orders": [order_of("alice", 10, pen=1)]}, "key-1")

        assert answer.status == 202


def test_a_batch_that_comes_again_says_so(shop: Shop) -> None:
    batch = {"orders": [order_of("alice", 10, pen=1), order_of("alice", 10, pen=0)]}
    first = shop.post(batch, "key-1")
    shop.pipeline.run()

    again = shop.post(batch, "key-1")

    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)
