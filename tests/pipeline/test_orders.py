"""Orders through the real handlers and the real wiring, from the request to the books."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support.pipeline import Pipeline
from tests.support.shop import CHECKERS, Shop, order_of, priced


class TestAnOrder:
    def test_is_shipped_and_paid_for(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 25.5, pen=2))

        shop.pipeline.run()

        view = shop.view(order_id)
        assert view["status"] == "SHIPPED"
        assert view["checks"] == {
            "balance": {
                "outcome": "HELD",
                "code": None,
                "id": "alice",
                "asked": Decimal("25.50"),
                "available": None,
            },
            "stock": {"outcome": "HELD", "code": None, "id": "pen", "asked": 2, "available": None},
        }
        assert [line.partition(" ")[2] for line in view["logs"]] in (
            ["order received", "balance HELD 25.50", "stock HELD 2", "confirmed", "shipped"],
            ["order received", "stock HELD 2", "balance HELD 25.50", "confirmed", "shipped"],
        )
        assert shop.account("alice") == [Decimal("74.50"), 0, Decimal("25.50")]
        assert shop.stock("pen") == [3, 0, 2]

    def test_with_another_price_is_rejected_with_both_prices_and_with_the_products_ships(
        self, shop: Shop
    ) -> None:
        # given a customer without a cent, and another
        shop.open({"dan": 0}, {})
        gold = {"productId": "gold", "balance": 50, "price": Decimal("19.90")}
        assert shop.pipeline.ask("POST", "/stock", gold).body["price"] == Decimal("19.90")
        # when
        free = shop.order(priced(order_of("dan", 0, gold=50), 0))
        silent = shop.order(order_of("dan", 0, gold=50))
        honest = shop.order(priced(order_of("alice", 39.8, gold=2), 19.9))
        shop.pipeline.run()
        # then
        refused = {
            "outcome": "DECLINED",
            "code": "PRICE_MISMATCH",
            "id": "gold",
            "asked": 50,
            "available": None,
            "price": Decimal("19.90"),
        }
        assert shop.view(free)["checks"]["stock"] == {**refused, "unitPrice": 0}
        assert shop.view(silent)["checks"]["stock"] == {**refused, "unitPrice": None}
        assert shop.statuses([free, silent, honest]) == ["REJECTED", "REJECTED", "SHIPPED"]
        expected = "stock DECLINED PRICE_MISMATCH gold, price 19.90, ordered at 0.00"
        assert any(line.endswith(expected) for line in shop.view(free)["logs"])
        assert shop.view(honest)["items"] == [{"productId": "gold", "qty": 2, "unitPrice": Decimal("19.90")}]
        assert shop.stock("gold") == [48, 0, 2]

    def test_is_checked_once_though_the_price_changes_before_its_message_comes_again(
        self, shop: Shop
    ) -> None:
        shop.pipeline.ask("POST", "/stock", {"productId": "gold", "balance": 5, "price": 20})
        order_id = shop.order(priced(order_of("alice", 1, gold=1), 1))
        shop.pipeline.run()
        refused = shop.view(order_id)

        assert shop.pipeline.ask("POST", "/stock", {"productId": "gold", "price": 1}).body["balance"] == 5
        shop.pipeline.redeliver_everything()
        shop.pipeline.run()

        assert shop.view(order_id) == refused

    def test_of_several_products_is_shipped_whole(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 30, pen=5, ink=3))

        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"
        assert [shop.stock("pen"), shop.stock("ink")] == [[0, 0, 5], [0, 0, 3]]

    def test_of_two_lines_of_one_product_needs_the_units_of_both(self, shop: Shop) -> None:
        lines = [{"productId": "pen", "qty": 3}, {"productId": "pen", "qty": 3}]
        order_id = shop.order({**order_of(), "items": lines})

        shop.pipeline.run()

        assert shop.view(order_id)["checks"]["stock"]["asked"] == 6
        assert shop.status(order_id) == "REJECTED"

    @pytest.mark.parametrize(
        ("body", "check", "reason"),
        [
            pytest.param(
                order_of("bob", 10.01, pen=1),
                "balance",
                {"code": "INSUFFICIENT_BALANCE", "id": "bob", "asked": Decimal("10.01"), "available": 10},
                id="credit",
            ),
            pytest.param(
                order_of("alice", 10, pen=6),
                "stock",
                {"code": "INSUFFICIENT_STOCK", "id": "pen", "asked": 6, "available": 5},
                id="stock",
            ),
            pytest.param(
                order_of("alice", 10, pen=1, ink=4),
                "stock",
                {"code": "INSUFFICIENT_STOCK", "id": "ink", "asked": 4, "available": 3},
                id="one of two products",
            ),
            pytest.param(
                order_of("nobody", 10, pen=1),
                "balance",
                {"code": "UNKNOWN_CUSTOMER", "id": "nobody", "asked": 10, "available": None},
                id="unknown customer",
            ),
            pytest.param(
                order_of("alice", 10, unicorn=1),
                "stock",
                {"code": "UNKNOWN_PRODUCT", "id": "unicorn", "asked": 1, "available": None},
                id="unknown product",
            ),
        ],
    )
    @pytest.mark.parametrize("first", CHECKERS)
    def test_that_is_rejected_has_its_reason_and_holds_nothing_whichever_check_was_first(
        self, shop: Shop, body: dict[str, Any], check: str, reason: dict[str, Any], first: str
    ) -> None:
        order_id = shop.order(body)

        shop.pipeline.deliver(first)
        shop.pipeline.deliver("order_update")
        shop.pipeline.run()

        view = shop.view(order_id)
        assert view["status"] == "REJECTED"
        assert view["checks"][check] == {"outcome": "DECLINED", **reason}
        assert any(line.endswith(f" rejected: {reason['code']}") for line in view["logs"])
        shop.books_add_up()
        assert shop.pipeline.ask("GET", f"/order/{order_id}/status").body == {
            name: view[name] for name in ("orderId", "status", "logs", "checks")
        }

    def test_that_is_declined_by_both_checks_has_both_reasons(self, shop: Shop) -> None:
        order_id = shop.order(order_of("nobody", 10, unicorn=1))

        shop.pipeline.run()

        codes = {name: each["code"] for name, each in shop.view(order_id)["checks"].items()}
        assert codes == {"balance": "UNKNOWN_CUSTOMER", "stock": "UNKNOWN_PRODUCT"}

    def test_whose_release_comes_before_the_other_check_leaves_nothing_held(self, shop: Shop) -> None:
        order_id = shop.order(order_of("nobody", 10, pen=1))
        (of_stock,) = shop.pipeline.held_up("stock_checker")

        shop.pipeline.run()  # the release is there before the check that it is for
        shop.pipeline.put("stock_checker", of_stock)
        shop.pipeline.run()

        assert shop.status(order_id) == "REJECTED"
        assert shop.view(order_id)["checks"]["stock"]["code"] == "ORDER_CLOSED"
        shop.books_add_up()

    def test_for_nothing_is_shipped_too(self, shop: Shop) -> None:
        order_id = shop.order(order_of("bob", 0, pen=1))

        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"
        assert shop.account("bob") == [10, 0, 0]

    def test_has_a_location_and_a_retry_after_header(self, shop: Shop) -> None:
        answer = shop.pipeline.ask("POST", "/order", order_of(), {"X-Correlation-Id": "corr-7"})

        assert answer.headers["Location"].endswith(f"order/{answer.body['orderId']}")
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["X-Correlation-Id"] == "corr-7"
        shop.pipeline.run()
        assert shop.view(answer.body["orderId"])["correlationId"] == "corr-7"
        assert all('"correlationid":"corr-7"' in body for _, body in shop.pipeline.delivered)


class TestABatch:
    def test_of_several_customers_with_a_bad_one_is_answered_in_order_and_the_good_ones_shipped(
        self, shop: Shop
    ) -> None:
        answer = shop.post(
            {"orders": [order_of("alice", 5, pen=1), order_of("bob", 5, pen=0), order_of("bob", 5, ink=1)]}
        )

        shop.pipeline.run()

        assert answer.status == 202
        first, bad, third = answer.body["orders"]
        assert (first["customerId"], third["customerId"]) == ("alice", "bob")
        assert bad["problem"]["status"] == 400
        assert [error["field"] for error in bad["problem"]["errors"]] == ["orders[1].items[0].qty"]
        assert shop.statuses([first["orderId"], third["orderId"]]) == ["SHIPPED", "SHIPPED"]
        shop.books_add_up()

    @pytest.mark.full
    def test_of_a_hundred_is_shipped(self, pipeline: Pipeline) -> None:
        shop = Shop(pipeline)
        shop.open({f"customer-{i}": 100 for i in range(10)}, {"pen": 60, "ink": 60})
        orders = [
            order_of(f"customer-{i % 10}", 10, **({"pen": 1} if i % 2 else {"ink": 1})) for i in range(100)
        ]

        answer = shop.post({"orders": orders})
        pipeline.run()

        order_ids = [order["orderId"] for order in answer.body["orders"]]
        assert len(set(order_ids)) == 100
        assert set(shop.statuses(order_ids)) == {"SHIPPED"}
        assert shop.stock("pen") == [10, 0, 50]
        shop.books_add_up()


def test_forty_orders_for_the_last_five_units(pipeline: Pipeline) -> None:
    shop = Shop(pipeline)
    shop.open({f"customer-{i}": 100 for i in range(40)}, {"pen": 5})
    order_ids = [shop.order(order_of(f"customer-{i}", 10, pen=1)) for i in range(40)]

    pipeline.run()

    views = [shop.view(order_id) for order_id in order_ids]
    refused = [view for view in views if view["status"] == "REJECTED"]
    assert [view["status"] for view in views].count("SHIPPED") == 5
    assert len(refused) == 35
    assert {view["checks"]["stock"]["code"] for view in refused} == {"INSUFFICIENT_STOCK"}
    assert shop.stock("pen") == [0, 0, 5]
    shop.books_add_up()


class TestARepeatedRequest:
    def test_has_one_effect_and_one_answer(self, shop: Shop) -> None:
        first = shop.post(order_of("alice", 10, pen=1), key="key-1")
        before = shop.post(order_of("alice", 10, pen=1), key="key-1")
        shop.pipeline.run()
        after = shop.post(order_of("alice", 10, pen=1), key="key-1")
        shop.pipeline.run()

        assert first.body == before.body == after.body
        assert (first.status, before.status, after.status) == (202, 202, 202)
        assert after.headers["Idempotency-Replayed"] == "true"
        assert shop.stock("pen") == [4, 0, 1]

    def test_of_a_batch_has_one_effect_and_one_answer(self, shop: Shop) -> None:
        batch = {"orders": [order_of("alice", 10, pen=1), 3, order_of("bob", 10, ink=1)]}

        first = shop.post(batch, key="key-1")
        shop.pipeline.run()
        after = shop.post(batch, key="key-1")
        shop.pipeline.run()

        assert first.body == after.body
        assert [shop.stock("pen"), shop.stock("ink")] == [[4, 0, 1], [2, 0, 1]]

    def test_with_another_body_is_refused_and_changes_nothing(self, shop: Shop) -> None:
        shop.post(order_of("alice", 10, pen=1), key="key-1")

        answer = shop.post(order_of("alice", 11, pen=1), key="key-1")
        shop.pipeline.run()

        assert answer.status == 422
        assert shop.stock("pen") == [4, 0, 1]

    def test_of_an_adjustment_has_one_effect_and_one_answer(self, shop: Shop) -> None:
        def adjust(by: float) -> Any:
            change = {"customerId": "alice", "adjust": by}
            return shop.pipeline.ask("POST", "/account", change, {"Idempotency-Key": "key-1"})

        first = adjust(-2.5)
        shop.open({}, {"pen": 5})
        assert adjust(-2.5).body == first.body
        assert adjust(2.5).status == 422
        assert shop.account("alice") == [Decimal("97.50"), 0, 0]
