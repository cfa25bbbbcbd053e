"""What an order costs, counted from the real calls."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import cost
from tests.support import pipeline
from tests.support.shop import CHECKERS, Shop, order_of, priced
from tests.support.sizes import stored_size
from tests.support.tables import session


class TestCost:
    def test_two_calls_are_made_before_an_order_is_answered(self, shop: Shop) -> None:
        shop.pipeline.calls.clear()

        shop.order(order_of("alice", 10, pen=1, ink=1))

        assert shop.pipeline.calls == ["dynamodb.PutItem", "sns.PublishBatch"]

    def test_a_key_costs_one_more_call_to_complete_the_request(self, shop: Shop) -> None:
        shop.pipeline.calls.clear()

        shop.order(order_of("alice", 10, pen=1), "key-1")

        assert shop.pipeline.calls == ["dynamodb.PutItem", "sns.PublishBatch", "dynamodb.UpdateItem"]

    def test_the_environment_of_a_running_engine_changes_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a shell with the variables of `make env`, and no cached clients
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        for kept in (session, pipeline._client):
            kept.cache_clear()

        assert cost.calls_before_the_answer(1) == 2

    @pytest.mark.parametrize("key", [None, "key-1"])
    def test_at_most_35_are_made_for_a_hundred_orders(
        self, shop: Shop, key: str | None, record_property: Any
    ) -> None:
        shop.pipeline.calls.clear()

        answer = shop.post({"orders": [order_of(f"customer-{i}", 10, pen=1) for i in range(100)]}, key)

        assert len(answer.body["orders"]) == 100
        calls = len(shop.pipeline.calls)
        record_property("calls", calls)
        print(f"POST /orders with 100 orders: {calls} calls to AWS")
        assert calls <= 35

    @pytest.mark.parametrize("price", [None, 1])
    def test_a_batch_of_ten_messages_is_handled_in_a_few_calls(self, shop: Shop, price: int | None) -> None:
        shop.open({"carol": 1000}, {"nib": 1000})
        order = order_of("carol", 1, nib=1)
        if price is not None:
            shop.pipeline.ask("POST", "/stock", {"productId": "nib", "price": price})
            order = priced(order, price)
        shop.post({"orders": [order] * 10})
        calls = {}
        for name in ("balance_checker", "stock_checker", "order_update", "ship_order"):
            shop.pipeline.calls.clear()
            assert shop.pipeline.deliver(name) == 10
            calls[name] = list(shop.pipeline.calls)

        assert shop.stock("nib")[2] == 10
        # Each holds, and reads the other's decisions; only the last one sends its results.
        first, last = (calls[checker] for checker in CHECKERS)
        assert first == ["dynamodb.TransactWriteItems", "dynamodb.BatchGetItem"]
        assert last == [*first, "sqs.SendMessageBatch"]
        # What each ledger holds for the orders, and on which head.
        assert calls["ship_order"] == [*["dynamodb.BatchGetItem"] * 2, "dynamodb.TransactWriteItems"]
        # The orders, and what the other check has decided.
        assert calls["order_update"] == [
            *["dynamodb.BatchGetItem"] * 2,
            *["dynamodb.UpdateItem"] * 10,
            "sqs.SendMessageBatch",
        ]

    def test_events_that_nobody_wants_are_two_reads_for_a_batch_and_reach_no_queue(self, shop: Shop) -> None:
        # given
        shop.post({"orders": [order_of(f"customer-{number}", 1, pen=1) for number in range(10)]})
        shop.pipeline.calls.clear()
        # when
        shop.pipeline.publish_changes(only=["change_publisher"])
        # then
        assert shop.pipeline.calls == [
            *["dynamodb.GetItem"] * 2,
            "sns.PublishBatch",
            "sqs.SendMessageBatch",
        ]
        for name in ("webhook_dispatcher", "socket_pusher"):
            assert shop.pipeline.deliver(name) == 0
        assert shop.pipeline.deliver("report_projector") == 10

    @pytest.mark.parametrize("name", ["webhook_dispatcher", "socket_pusher"])
    def test_events_are_one_read_for_a_batch_where_it_was_not_known_who_wants_them(
        self, shop: Shop, name: str
    ) -> None:
        # given
        shop.post({"orders": [order_of(f"customer-{number}", 1, pen=1) for number in range(10)]})
        with shop.pipeline.refusing("dynamodb.GetItem"):
            shop.pipeline.publish_changes()
        shop.pipeline.calls.clear()
        # when
        assert shop.pipeline.deliver(name) == 10
        # then
        assert shop.pipeline.calls == ["dynamodb.GetItem"]

    @pytest.mark.parametrize(
        "body",
        [
            order_of("alice", 10, pen=1),
            order_of("alice", 10, unicorn=99999),
            priced(order_of("alice", 10.5, pen=1), 10.5),
            {**priced(order_of("alice", pen=9999), 10000.01), "totalAmount": 99990099.99},
        ],
    )
    def test_an_order_of_one_line_stays_under_1_kb_for_its_whole_life(
        self, shop: Shop, body: dict[str, Any], record_property: Any
    ) -> None:
        order_id = shop.order({**body, "customerId": "alice"}, key="8e03978e-40d5-43dd-bc93-6894a57f9324")

        shop.pipeline.run()

        size = stored_size(shop.pipeline.item("OrderTable", orderId=order_id))
        record_property("bytes", size)
        print(f"an order that is {shop.status(order_id)}: {size} bytes")
        assert size < 1024
