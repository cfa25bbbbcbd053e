"""The console's API over the pipeline: queues, dead letters, open orders."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from order_capture import bootstrap
from order_capture.adapters.operations.queues import SqsQueues
from order_capture_ops.stack import Stack
from tests.operations.test_open_orders import check_orders
from tests.operations.test_redrive import bodies, put
from tests.support.factories import body_of, check, details_of, ship
from tests.support.fakes import MemoryLogs
from tests.support.pipeline import Answer
from tests.support.shop import Shop, order_of


class Operator:
    """An operator at the console."""

    def __init__(self, shop: Shop) -> None:
        self.pipeline = shop.pipeline

    def get(self, path: str, **query: str) -> Any:
        answer = self.pipeline.ask("GET", f"/operations/{path}?{urlencode(query)}")
        assert answer.status == 200, answer.body
        return answer.body

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        return self.pipeline.ask("POST", f"/operations/{path}", body)


@pytest.fixture
def operator(shop: Shop, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setattr(bootstrap, "queues", lambda: SqsQueues(stack))
    logged = {("balance_checker", "order-1"): "returned to the queue: Throttled"}
    monkeypatch.setattr(bootstrap, "function_logs", lambda: MemoryLogs(logged))
    return Operator(shop)


@pytest.fixture
def sqs(stack: Stack) -> Any:
    return stack.client("sqs")


class TestQueues:
    def test_show_what_waits_and_what_is_dead(
        self, operator: Operator, shop: Shop, stack: Stack, sqs: Any
    ) -> None:
        shop.order(order_of("alice", 10, pen=1))
        put(sqs, stack.outputs["OrderUpdateDlqUrl"], "nonsense")

        queues = {each["name"]: each for each in operator.get("queues")["queues"]}

        assert queues["balance_checker"]["waiting"] == queues["stock_checker"]["waiting"] == 1
        assert queues["order_update"] == {
            "name": "order_update",
            "kind": "queue",
            "waiting": 0,
            "inFlight": 0,
            "delayed": 0,
            "deadLetters": 1,
            "redrivable": True,
        }
        assert queues["order_topic"] == {
            "name": "order_topic",
            "kind": "topic",
            "deadLetters": 0,
            "redrivable": True,
        }
        assert queues["change_publisher"]["redrivable"] is False
        assert "deadLetters" not in queues["webhook_slow"], "they are in webhook_sender's queue"


class TestDeadLetters:
    def test_have_a_reason_and_their_order(
        self, operator: Operator, shop: Shop, stack: Stack, sqs: Any
    ) -> None:
        order_id, url = shop.order(order_of("alice", 10, pen=1)), stack.outputs["BalanceCheckerDlqUrl"]
        put(sqs, url, "nonsense")
        put(sqs, url, body_of(check(details_of(order_id))))
        put(sqs, url, body_of(ship(details_of("order-1"))))
        put(sqs, url, body_of(check(details_of("order-1"))))
        put(sqs, url, "x" * 5000)

        found = operator.get("dead-letters/balance_checker")

        assert (found["queue"], found["count"]) == ("balance_checker", 5)
        letters = {
            each.get("orderId", each["body"][:8]) + each.get("type", ""): each
            for each in found["deadLetters"]
        }
        assert letters["nonsense"]["reason"] == "it is not JSON"
        assert letters["nonsense"]["readable"] is False
        assert "type" not in letters["nonsense"]
        ours = letters[f"{order_id}order.check"]
        assert (ours["type"], ours["orderStatus"]) == ("order.check", "PENDING")
        assert ours["readable"] is True
        assert ours["reason"] == "balance_checker logged nothing about it: it may have timed out"
        assert letters["order-1order.check"]["reason"] == "balance_checker: returned to the queue: Throttled"
        assert letters["order-1order.ship"]["reason"].startswith("order.ship is not for this queue")
        assert "orderStatus" not in letters["order-1order.ship"], "there is no such order"
        assert (len(letters["xxxxxxxx"]["body"]), letters["xxxxxxxx"]["bodyTruncated"]) == (4000, True)

    def test_go_back_after_a_dry_run_and_their_order_goes_on(
        self, operator: Operator, shop: Shop, stack: Stack, sqs: Any
    ) -> None:
        order_id = shop.order(order_of("alice", 10, pen=1))
        with shop.pipeline.refusing("dynamodb.TransactWriteItems"):
            for _ in range(shop.pipeline.max_receive_count("stock_checker") + 1):
                shop.pipeline.deliver("stock_checker")
        put(sqs, stack.outputs["StockCheckerDlqUrl"], "nonsense")

        counted = operator.post("dead-letters/stock_checker/redrive", {"dryRun": True})
        moved = operator.post("dead-letters/stock_checker/redrive", {})

        figures = {"queue": "stock_checker", "moved": 1, "foreign": 1, "failed": 0}
        assert counted.body == figures | {"dryRun": True, "remaining": 2}
        assert moved.body == figures | {"dryRun": False, "remaining": 1}
        shop.pipeline.run()
        assert shop.status(order_id) == "SHIPPED"
        again = operator.post("dead-letters/stock_checker/redrive", {})
        assert (again.body["moved"], again.body["remaining"]) == (0, 1)

    def test_are_deleted_if_they_are_foreign_and_stay_if_they_are_ours(
        self, operator: Operator, stack: Stack, sqs: Any
    ) -> None:
        url, ours = stack.outputs["OrderUpdateDlqUrl"], body_of(check())
        put(sqs, url, "nonsense")
        put(sqs, url, ours)
        ids = [each["messageId"] for each in operator.get("dead-letters/order_update")["deadLetters"]]

        discarded = operator.post("dead-letters/order_update/discard", {"messageIds": [*ids, "unheard-of"]})

        assert discarded.body == {"queue": "order_update", "discarded": 1, "kept": 2}
        assert bodies(sqs, url) == [ours]

    @pytest.mark.parametrize(
        ("action", "body"),
        [("redrive", {}), ("redrive", {"dryRun": True}), ("discard", {"messageIds": ["m"]})],
    )
    def test_of_a_stream_stay(
        self, operator: Operator, stack: Stack, sqs: Any, action: str, body: dict[str, Any]
    ) -> None:
        put(sqs, stack.outputs["ChangePublisherDlqUrl"], "a position in the stream")

        refused = operator.post(f"dead-letters/change_publisher/{action}", body)

        assert (refused.status, refused.body["title"]) == (409, "Not redrivable")
        assert bodies(sqs, stack.outputs["ChangePublisherDlqUrl"]) == ["a position in the stream"]

    def test_of_an_unknown_queue_are_not_found_and_the_known_ones_named(self, operator: Operator) -> None:
        for name in ("order_dream", "webhook_slow", "OrderUpdate"):
            answer = operator.pipeline.ask("GET", f"/operations/dead-letters/{name}")
            assert answer.status == 404
            assert "order_update" in answer.body["detail"]

    @pytest.mark.parametrize(
        ("path", "body", "field"),
        [
            ("order_update/redrive", {"limit": 0}, "limit"),
            ("order_update/redrive", {"limit": 1001}, "limit"),
            ("order_update/redrive", {"dryRun": "yes"}, "dryRun"),
            ("order_update/redrive", {"queue": "x"}, "queue"),
            ("order_update/discard", {}, "messageIds"),
            ("order_update/discard", {"messageIds": []}, "messageIds"),
            ("order_update/discard", {"messageIds": [str(each) for each in range(11)]}, "messageIds"),
        ],
    )
    def test_bad_input_is_refused_by_its_field(
        self, operator: Operator, path: str, body: dict[str, Any], field: str
    ) -> None:
        answer = operator.post(f"dead-letters/{path}", body)
        assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, [field])


class TestOpenOrders:
    def test_are_listed_page_by_page_with_what_they_wait_for(self, operator: Operator, shop: Shop) -> None:
        order_ids = [shop.order(order_of("alice", 10, pen=1)) for _ in range(3)]
        check_orders(shop)

        seen, query = [], {"limit": "2"}
        while True:
            answer = operator.pipeline.ask("GET", f"/operations/open-orders?{urlencode(query)}")
            seen += answer.body["openOrders"]
            link = re.search(r"cursor=([\w-]+)", answer.headers.get("Link", ""))
            if link is None:
                break
            query = {"limit": "2", "cursor": link[1]}

        assert {each["orderId"] for each in seen} == {*order_ids}
        assert len(seen) == 3
        assert (seen[0]["customerId"], seen[0]["status"]) == ("alice", "PENDING")
        assert seen[0]["waitsFor"] == ["balance check: not done yet", "stock check: not done yet"]

    def test_are_checked_now_all_or_some(self, operator: Operator, shop: Shop) -> None:
        order_ids = [shop.order(order_of("alice", 10, pen=1)) for _ in range(2)]
        check_orders(shop)

        everything = operator.post("open-orders/recheck", {})
        one = operator.post("open-orders/recheck", {"orderIds": order_ids[:1] * 3})
        unknown = operator.post("open-orders/recheck", {"orderIds": ["unheard-of"]})

        assert (everything.status, everything.body) == (202, {"rechecked": 2})
        assert (one.status, one.body) == (202, {"rechecked": 1})
        assert (unknown.status, unknown.body["detail"]) == (
            404,
            "Unknown or unreadable: order unheard-of.",
        )
        shop.pipeline.wait(2)
        shop.pipeline.run()
        assert {shop.status(each) for each in order_ids} == {"SHIPPED"}
