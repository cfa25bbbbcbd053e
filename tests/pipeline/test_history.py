"""The ledgers' history: it has every entry, and reproduces every earlier response of GET."""

from __future__ import annotations

from typing import Any

import pytest

from order_capture.entrypoints.invocations import InvocationFailedError
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

PATHS = ("/account/alice", "/account/bob", "/stock/pen", "/stock/ink")


class ResponseLog:
    """The response of every GET, with its time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.responses: list[tuple[str, str, Any]] = []

    def write(self) -> None:
        """Request everything now, in a millisecond without other events."""
        self._pipeline.wait(0.05)
        for path in PATHS:
            answer = self._pipeline.ask("GET", path)
            self.responses.append((path, self._pipeline.now(), answer.body))
        self._pipeline.wait(0.05)

    def equals_the_history(self) -> None:
        """Assert that the history reproduces each response, by its time."""
        for path, at, body in self.responses:
            assert self._pipeline.ask("GET", f"{path}?at={at}").body == body, (path, at)


@pytest.fixture
def responses_log(shop: Shop) -> ResponseLog:
    return ResponseLog(shop.pipeline)


def history(pipeline: Pipeline, path: str, limit: int = 100) -> list[Any]:
    """All entries, page by page."""
    entries: list[Any] = []
    query = f"limit={limit}"
    while query:
        answer = pipeline.ask("GET", f"{path}/history?{query}")
        assert answer.status == 200
        entries += answer.body["entries"]
        link = answer.headers.get("Link", "")
        query = link.removeprefix("<history?").removesuffix('>; rel="next"')
    return entries


def test_a_past_balance_equals_the_response_of_that_time(shop: Shop, responses_log: ResponseLog) -> None:
    shop.pipeline.wait(0.05)
    responses_log.write()
    # step by step, so that open orders, too, are seen
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("alice", 20, pen=1, ink=1))
    shop.order(order_of("bob", 100, pen=1))
    cancelled = shop.order(order_of("alice", 30, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)
        responses_log.write()
    shop.cancel(cancelled)
    shop.pipeline.run()
    responses_log.write()
    shop.pipeline.ask("POST", "/stock", {"productId": "pen", "adjust": 7})
    shop.pipeline.run()
    responses_log.write()

    assert len({str(body) for _, _, body in responses_log.responses}) > 10
    responses_log.equals_the_history()


def test_every_entry_is_there_once_newest_first_with_what_it_led_to(shop: Shop) -> None:
    shipped = shop.order(order_of("alice", 10, pen=2))
    shop.pipeline.run()
    refused = shop.order(order_of("alice", 10, pen=9))
    shop.pipeline.run(times=2)

    stock = history(shop.pipeline, "/stock/pen")
    assert [(each["type"], each.get("orderId"), each["amount"]) for each in stock] == [
        ("HOLD", refused, 0),
        ("SETTLE", shipped, 2),
        ("HOLD", shipped, 2),
        ("ADJUST", None, 5),
    ]
    assert stock[0]["declined"] == {"code": "INSUFFICIENT_STOCK", "id": "pen", "asked": 9, "available": 3}
    assert [each["after"] for each in stock[1:]] == [
        {"balance": 3, "held": 0, "settled": 2},
        {"balance": 3, "held": 2, "settled": 0},
        {"balance": 5, "held": 0, "settled": 0},
    ]
    account = history(shop.pipeline, "/account/alice", limit=1)
    assert sorted(
        (each["type"], each.get("orderId")) for each in account if each["type"] != "ADJUST"
    ) == sorted([("HOLD", shipped), ("SETTLE", shipped), ("HOLD", refused), ("RELEASE", refused)])


def test_it_is_not_found_only_at_times_when_it_was_deleted(shop: Shop) -> None:
    def balance(then: str) -> object:
        answer = shop.pipeline.ask("GET", f"/stock/pen?at={then}")
        return answer.body["balance"] if answer.status == 200 else answer.status

    times = []
    for change in (
        lambda: shop.open({}, {"pen": 0}),  # it exists with a zero balance
        lambda: shop.pipeline.ask("DELETE", "/stock/pen"),
        lambda: shop.open({}, {"pen": 7}),
        lambda: shop.pipeline.ask("DELETE", "/stock/pen"),
    ):
        shop.pipeline.wait(1)
        change()
        times.append(shop.pipeline.now())
    shop.pipeline.run()

    assert [balance(time) for time in times] == [0, 404, 7, 404]
    assert [
        (each["amount"], each["after"].get("deleted")) for each in history(shop.pipeline, "/stock/pen")
    ] == [*((-7, True), (7, None), (0, True), (-5, None), (5, None))]


def test_a_batch_of_orders_for_one_product_is_a_line_each(shop: Shop) -> None:
    orders = [shop.order(order_of("alice", 1, pen=1)) for _ in range(7)]
    shop.pipeline.run()

    for limit in (2, 100):
        entries = history(shop.pipeline, "/stock/pen", limit)
        held = [each["orderId"] for each in entries if each["type"] == "HOLD" and "declined" not in each]
        settled = [each["orderId"] for each in entries if each["type"] == "SETTLE"]
        declined = [each["orderId"] for each in entries if "declined" in each]
        assert sorted(held) == sorted(settled)
        assert sorted(held + declined) == sorted(orders)
        assert len(held) == 5


def test_it_is_complete_even_if_its_first_write_failed(shop: Shop, responses_log: ResponseLog) -> None:
    responses_log.write()
    with shop.pipeline.refusing("dynamodb.BatchWriteItem"), pytest.raises(InvocationFailedError):
        shop.pipeline.publish_changes()
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run(times=2)
    responses_log.write()

    responses_log.equals_the_history()


def test_a_time_that_the_history_lacks_is_a_503(shop: Shop, responses_log: ResponseLog) -> None:
    shop.pipeline.run()
    responses_log.write()
    shop.pipeline.ask("POST", "/stock", {"productId": "pen", "adjust": 1})
    (before,) = {at for path, at, _ in responses_log.responses if path == "/stock/pen"}

    answer = shop.pipeline.ask("GET", f"/stock/pen?at={before}")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")

    shop.pipeline.publish_changes()
    responses_log.equals_the_history()


def test_a_time_before_the_first_balance_is_a_404_and_the_future_a_400(shop: Shop) -> None:
    shop.pipeline.run()

    assert shop.pipeline.ask("GET", "/stock/pen?at=2020-01-01T00:00:00Z").status == 404
    future = shop.pipeline.ask("GET", "/stock/pen?at=2999-01-01T00:00:00Z")
    assert (future.status, future.body["errors"][0]["field"]) == (400, "at")
    assert shop.pipeline.ask("GET", "/stock/nothing/history").status == 404
