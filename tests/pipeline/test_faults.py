"""Messages that arrive twice, late, out of order, malformed or not at all."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from tests.support.factories import body_of, check
from tests.support.shop import CHECKERS, CONSUMERS, Shop, order_of


class TestDuplicates:
    def test_of_every_message_change_nothing(self, shop: Shop) -> None:
        shipped = shop.order(order_of("alice", 25.5, pen=2, ink=1))
        refused = shop.order(order_of("alice", 10, pen=100))

        shop.pipeline.run(times=2)

        assert shop.statuses([shipped, refused]) == ["SHIPPED", "REJECTED"]
        assert shop.account("alice") == [Decimal("74.50"), 0, Decimal("25.50")]
        assert shop.stock("pen") == [3, 0, 2]
        shop.books_add_up()

    def test_of_everything_long_after_change_nothing_though_there_is_more_now(self, shop: Shop) -> None:
        shipped = shop.order(order_of("alice", 25.5, pen=2))
        refused = shop.order(order_of("bob", 50, pen=3))
        shop.pipeline.run()
        shop.open({"bob": 1000}, {})
        before = [shop.view(shipped), shop.view(refused), shop.account("alice"), shop.stock("pen")]

        shop.pipeline.redeliver_everything()
        shop.pipeline.run()

        assert before == [shop.view(shipped), shop.view(refused), shop.account("alice"), shop.stock("pen")]
        assert shop.account("bob") == [1000, 0, 0]
        assert all(shop.pipeline.dead_letters(name) == [] for name in CONSUMERS)


class TestReordering:
    @pytest.mark.parametrize("order", [CHECKERS, CHECKERS[::-1]])
    def test_of_the_checks_makes_no_difference(self, shop: Shop, order: tuple[str, ...]) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        for checker in order:
            shop.pipeline.deliver(checker)
            shop.pipeline.deliver("order_update")
        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"

    def test_of_an_answer_behind_the_shipping_makes_no_difference(self, shop: Shop) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        view = shop.view(order_id)
        answers = [body for name, body in shop.pipeline.delivered if name == "order_update"]

        for body in reversed(answers):
            shop.pipeline.put("order_update", body)
        shop.pipeline.run()

        assert shop.view(order_id) == view

    @pytest.mark.parametrize("seed", range(5))
    def test_of_all_messages_at_random_and_twice_over_leaves_the_books_right(
        self, shop: Shop, seed: int
    ) -> None:
        chance = random.Random(seed)
        bodies = [order_of("alice", 10, pen=1, ink=1) for _ in range(4)] + [order_of("bob", 6, pen=1)] * 2
        order_ids = [shop.order(body) for body in bodies]

        for _ in range(40):
            shop.pipeline.deliver(chance.choice(CONSUMERS), times=chance.choice([1, 2]))
            if shop.pipeline.delivered and chance.random() < 0.3:
                shop.pipeline.put(*chance.choice(shop.pipeline.delivered))
        shop.pipeline.run()

        statuses = shop.statuses(order_ids)
        assert set(statuses) <= {"SHIPPED", "REJECTED"}
        assert statuses.count("SHIPPED") == shop.stock("pen")[2]
        shop.books_add_up()


class TestPoison:
    @pytest.mark.parametrize(
        "poison",
        [
            pytest.param("{", id="bad JSON"),
            pytest.param(body_of(check()).replace('"qty":1', '"qty":1e100000000'), id="a number without end"),
            pytest.param(body_of(check()).replace("order.check", "order.dance"), id="unknown type"),
            pytest.param(body_of(check()).replace(":1", ":2"), id="unknown version"),
        ],
    )
    @pytest.mark.parametrize("function", [*CONSUMERS, "order_watchdog"])
    def test_is_dead_lettered_after_its_attempts_and_delays_nothing_else(
        self, shop: Shop, function: str, poison: str
    ) -> None:
        shop.pipeline.put(function, poison)
        order_id = shop.order(order_of("alice", 10, pen=1))

        for name in CONSUMERS:
            shop.pipeline.deliver(name)
        assert shop.status(order_id) == "SHIPPED"
        shop.pipeline.run()

        others = [name for name in CONSUMERS if name != function]
        assert [shop.pipeline.dead_letters(name) for name in others] == [[]] * len(others)
        assert shop.pipeline.dead_letters(function) == [poison]
        tries = [body for name, body in shop.pipeline.delivered if (name, body) == (function, poison)]
        assert len(tries) == shop.pipeline.max_receive_count(function) >= 5


class TestWhenAwsFails:
    def test_an_order_that_can_not_be_published_gets_503_and_a_retry_with_its_key_publishes_it(
        self, shop: Shop
    ) -> None:
        with shop.pipeline.refusing("sns.PublishBatch", text="the topic's own words"):
            refused = shop.post(order_of("alice", 10, pen=1), key="key-1")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert "the topic's own words" not in str(refused)

        retried = shop.post(order_of("alice", 10, pen=1), key="key-1")
        shop.pipeline.run()

        assert shop.status(retried.body["orderId"]) == "SHIPPED"
        assert shop.stock("pen") == [4, 0, 1]

    def test_an_order_without_a_key_that_can_not_be_published_counts_once_on_retry(self, shop: Shop) -> None:
        with shop.pipeline.refusing("sns.PublishBatch"):
            assert shop.post(order_of("alice", 10, pen=1)).status == 503

        order_id = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"
        assert shop.stock("pen") == [4, 0, 1]
        shop.books_add_up()

    @pytest.mark.parametrize("operation", ["dynamodb.PutItem", "dynamodb.TransactWriteItems"])
    @pytest.mark.parametrize("orders", [1, 2])
    def test_a_request_is_not_its_own_repetition(self, shop: Shop, operation: str, orders: int) -> None:
        body = order_of("alice", 10.5, pen=1)
        request = body if orders == 1 else {"orders": [body] * orders}
        with shop.pipeline.losing_an_answer(operation):
            first = shop.post(request, key="key-1")
        again = shop.post(request, key="key-1")

        assert (first.status, first.headers.get("Idempotency-Replayed")) == (202, None)
        assert (again.status, again.headers["Idempotency-Replayed"]) == (202, "true")
        assert again.body == first.body

    @pytest.mark.parametrize("operation", ["dynamodb.PutItem", "sns.PublishBatch"])
    def test_a_lost_response_makes_no_second_order(self, shop: Shop, operation: str) -> None:
        with shop.pipeline.losing_an_answer(operation):
            order_id = shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"
        assert shop.stock("pen") == [4, 0, 1]
        shop.books_add_up()

    @pytest.mark.parametrize(
        "operation",
        [
            "dynamodb.TransactWriteItems",
            "dynamodb.UpdateItem",
            "dynamodb.BatchGetItem",
            "sqs.SendMessageBatch",
        ],
    )
    def test_a_failed_message_succeeds_on_retry(self, shop: Shop, operation: str) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))

        for name in CONSUMERS:
            with shop.pipeline.refusing(operation):
                shop.pipeline.deliver(name)
            shop.pipeline.deliver(name)
        shop.pipeline.run()

        assert shop.status(order_id) == "SHIPPED"
        assert shop.account("alice") == [90, 0, 10]
        assert shop.stock("pen") == [4, 0, 1]

    def test_a_failed_read_has_a_problem_without_internals(self, shop: Shop) -> None:
        with shop.pipeline.refusing("dynamodb.GetItem", text="arn:aws:dynamodb:…:table/x"):
            answer = shop.pipeline.ask("GET", "/order/order-1")

        assert answer.status == 503
        assert "arn:" not in str(answer)
