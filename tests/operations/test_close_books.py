"""Closed books: old items are deleted, their sums are kept, and nothing is executed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import pytest

from order_capture.adapters.dynamodb.transactions import transact
from order_capture.adapters.messaging.envelopes import encode
from order_capture.application.messages import ShipOrder
from order_capture.domain.times import after
from order_capture_ops import audit as audits
from order_capture_ops import close_books as closing
from order_capture_ops.audit import audit
from order_capture_ops.close_books import ClosedBooks, close_books
from order_capture_ops.errors import CommandError
from order_capture_ops.reports import check_reports, rebuild_reports
from order_capture_ops.restore.reconcile import HALF_CLOSED, reconcile
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run, open_shop
from tests.operations.test_reconcile import MOMENT, RESTORED, put_in, replace_items, without_history
from tests.support.aws.expressions import Item
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of
from tests.support.tables import dynamodb_client

DAY = 24 * 3600
DEADLINE = 900.0


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))


@pytest.fixture
def shop(pipeline: Pipeline) -> Shop:
    """Starts 200 days ago: moto does not deliver messages from the future."""
    pipeline.wait(-200 * DAY)
    return open_shop(pipeline)


@pytest.fixture
def orders(shop: Shop) -> dict[str, str]:
    """Orders that have shipped, been rejected and been cancelled 100 days ago, and one that is still open."""
    pipeline = shop.pipeline
    orders = {
        "shipped": shop.order(order_of("alice", 25.5, pen=2), key="key-1"),
        "several": shop.order(order_of("alice", 40, pen=3, ink=4)),
        "rejected": shop.order(order_of("bob", 500, pen=1)),
        "unknown": shop.order(order_of("nobody", 5, pen=1)),
    }
    pipeline.run()
    orders["cancelled"] = shop.order(order_of("alice", 7, pen=1))
    for name in ("balance_checker", "stock_checker"):
        pipeline.deliver(name)
    assert shop.cancel(orders["cancelled"]).status == 200
    shop.post({"orders": [order_of("alice", 1, ink=1)]}, key="batch-1")
    pipeline.run()
    for _ in range(3):
        assert pipeline.ask("POST", "/account", {"customerId": "alice", "adjust": 10}).status == 200
    orders["open"] = shop.order(order_of("alice", 3, pen=1))
    for name in ("balance_checker", "stock_checker", "order_update"):
        pipeline.deliver(name)
    pipeline.publish_changes()
    assert shop.status(orders["open"]) == "CONFIRMED"
    pipeline.deliver("report_projector")
    assert pipeline.held_up("ship_order")  # moto delivers nothing behind an expired message
    pipeline.wait(100 * DAY)
    return orders


@pytest.fixture
def closed(orders: dict[str, str], tables: Tables, until: str) -> ClosedBooks:
    return close_books(tables, until)


@pytest.fixture
def until(pipeline: Pipeline, orders: dict[str, str]) -> str:
    return after(pipeline.now(), -60 * DAY)


def differences(tables: Tables) -> list[str]:
    return [f"{each.entity}: {each.what}" for each in audit(tables, 1000 * DAY, 0).differences]


class TestClosing:
    def test_deletes_what_has_ended_and_the_books_still_add_up(
        self, closed: ClosedBooks, orders: dict[str, str], shop: Shop, tables: Tables
    ) -> None:
        assert closed.left == []
        assert closed.orders == len(orders)  # one of them is open, and the batch had another one
        assert shop.pipeline.order_ids() == [orders["open"]]
        assert differences(tables) == []
        assert shop.account("alice") == [1000 + 30 - 66.5 - 3, 3, 66.5]
        assert shop.stock("pen") == [44, 1, 5]

    def test_changes_no_balance_and_publishes_nothing(
        self, orders: dict[str, str], until: str, shop: Shop, tables: Tables
    ) -> None:
        heads = [item for table in ("AccountTable", "StockTable") for item in balances(shop, table)]
        listeners = [
            shop.pipeline.listen(topic) for topic in ("OrderEventTopic", "AccountTopic", "StockTopic")
        ]

        close_books(tables, until)
        shop.pipeline.publish_changes()

        assert [each for table in ("AccountTable", "StockTable") for each in balances(shop, table)] == heads
        assert [message for take in listeners for message in take()] == []

    def test_keeps_what_the_open_order_holds_which_ships_afterwards(
        self, closed: ClosedBooks, orders: dict[str, str], shop: Shop, stack: Stack, tables: Tables
    ) -> None:
        ship(shop, stack, orders["open"])

        assert shop.status(orders["open"]) == "SHIPPED"
        assert differences(tables) == []

    def test_may_be_repeated_and_goes_on_later(
        self, closed: ClosedBooks, orders: dict[str, str], shop: Shop, stack: Stack, tables: Tables
    ) -> None:
        again = close_books(tables, closed.until)
        assert (again.orders, again.entries, again.records) == (0, 0, 0)

        ship(shop, stack, orders["open"])
        shop.order(order_of("bob", 2, ink=1))
        shop.pipeline.run()
        shop.pipeline.wait(70 * DAY)
        later = close_books(tables, after(shop.pipeline.now(), -60 * DAY))

        assert (later.orders, shop.pipeline.order_ids()) == (2, [])
        assert differences(tables) == []

    def test_never_goes_back(self, closed: ClosedBooks, tables: Tables) -> None:
        with pytest.raises(CommandError, match="already closed until"):
            close_books(tables, after(closed.until, -DAY))

    def test_that_was_interrupted_anywhere_leaves_books_that_add_up(
        self, orders: dict[str, str], until: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writes = 0
        while True:
            left = writes

            def write(client: Any, actions: Any) -> Any:
                nonlocal left
                if not left:
                    raise KeyboardInterrupt
                left -= 1
                return transact(client, actions)

            monkeypatch.setattr(closing, "transact", write)
            try:
                close_books(tables, until)
                break
            except KeyboardInterrupt:
                monkeypatch.undo()
                monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))
                assert differences(tables) == []
            writes += 1
        assert writes >= 2

    def test_is_not_what_it_was_if_its_sums_are_dropped(
        self, orders: dict[str, str], until: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def without_sums(client: Any, actions: list[Any]) -> Any:
            return transact(client, [each for each in actions if "Update" not in each])

        monkeypatch.setattr(closing, "transact", without_sums)
        close_books(tables, until)

        found = differences(tables)
        assert "account alice: settled (by orders that have shipped)" in found
        assert "account alice: balance + held + settled (the sum of all adjustments)" in found
        assert "product pen: balance (replayed from the entries)" in found

    def test_of_two_runs_at_once_keeps_each_sum_once(
        self, orders: dict[str, str], until: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = iter([True])

        def overtaken(client: Any, actions: Any) -> Any:
            if next(others, False):
                close_books(tables, until)
            return transact(client, actions)

        monkeypatch.setattr(closing, "transact", overtaken)
        assert close_books(tables, until).orders == 0
        assert differences(tables) == []

    def test_leaves_an_order_that_was_never_released(
        self, orders: dict[str, str], until: str, tables: Tables, pipeline: Pipeline
    ) -> None:
        order_id = orders["cancelled"]
        entry = {"customerId": {"S": f"ORDER#{order_id}"}, "entry": {"S": f"RELEASE#{order_id}"}}
        tables.accounts.client.delete_item(TableName=tables.accounts.name, Key=entry)

        closed = close_books(tables, until)

        assert closed.left == [f"order {order_id}: it is CANCELLED, and not released in the account ledger"]
        assert order_id in pipeline.order_ids()


class TestWhatComesAfter:
    def test_an_old_copy_of_any_message_moves_nothing(
        self, orders: dict[str, str], shop: Shop, stack: Stack, tables: Tables
    ) -> None:
        pipeline = shop.pipeline
        ship(shop, stack, orders["open"])
        pipeline.wait(61 * DAY)
        figures = [shop.account("alice"), shop.stock("pen"), shop.stock("ink")]
        close_books(tables, after(pipeline.now(), -60 * DAY))
        assert pipeline.order_ids() == []

        pipeline.redeliver_everything()
        for name in ("balance_checker", "stock_checker", "ship_order", "order_update", "order_watchdog"):
            pipeline.deliver(name, times=2)

        assert [shop.account("alice"), shop.stock("pen"), shop.stock("ink")] == figures
        assert differences(tables) == []

    def test_a_key_is_forgotten_with_its_order(
        self, closed: ClosedBooks, orders: dict[str, str], shop: Shop, tables: Tables
    ) -> None:
        again = shop.order(order_of("alice", 25.5, pen=2), key="key-1")
        shop.pipeline.run()

        assert again == orders["shipped"]  # the id is the key's
        assert (shop.status(again), differences(tables)) == ("SHIPPED", [])
        assert closed.keys == 1  # the batch's

    def test_a_balance_of_before_is_not_kept_and_a_later_one_is(
        self, closed: ClosedBooks, orders: dict[str, str], shop: Shop, stack: Stack
    ) -> None:
        ask = shop.pipeline.ask
        ship(shop, stack, orders["open"])
        before = after(closed.until, -50 * DAY)
        answer = ask("GET", f"/account/alice?at={before}")
        assert (answer.status, closed.until in answer.body["detail"]) == (404, True)

        later = after(closed.until, DAY)
        assert ask("GET", f"/account/alice?at={later}").body["held"] == 3
        assert ask("GET", f"/account/bob?at={before}").status == 404
        history = ask("GET", "/account/alice/history").body
        assert [each["type"] for each in history["entries"]] == ["SETTLE"]

    def test_the_reports_stay_and_survive_a_rebuild(
        self, orders: dict[str, str], until: str, shop: Shop, stack: Stack, tables: Tables
    ) -> None:
        shop.pipeline.run()
        now = shop.pipeline.now()
        days = f"/reports/daily?from={after(now, -101 * DAY)[:10]}&to={after(now, -20 * DAY)[:10]}"
        before = shop.pipeline.ask("GET", days).body
        assert before["days"][0]["orders"]["placed"] == len(orders) + 1

        close_books(tables, until)
        assert check_reports(stack, 0).differences == []
        rebuild_reports(stack)

        assert shop.pipeline.ask("GET", days).body == before
        assert check_reports(stack, 0).differences == []

    def test_missing_history_is_still_found_and_rebuilt(
        self, closed: ClosedBooks, orders: dict[str, str], shop: Shop, stack: Stack, tables: Tables, run: Run
    ) -> None:
        ship(shop, stack, orders["open"])
        shop.pipeline.wait(DAY)
        assert differences(tables) == []
        lines = [
            item for item in shop.pipeline.items("HistoryTable") if item["entity"]["S"] == "productId#pen"
        ]
        key = {name: lines[-1][name] for name in ("entity", "line")}
        tables.history.client.delete_item(TableName=tables.history.name, Key=key)
        assert differences(tables) == [
            "product pen: entries missing from its history (rebuild-history writes them)"
        ]

        assert run("rebuild-history") == 0
        assert differences(tables) == []


class TestTheCommand:
    def test_deletes_nothing_unless_a_retention_is_set(
        self, run: Run, orders: dict[str, str], capsys: pytest.CaptureFixture[str], pipeline: Pipeline
    ) -> None:
        assert run("close-books") == 2
        assert "OrderRetentionDays is 0: everything is kept" in capsys.readouterr().err
        assert len(pipeline.order_ids()) == len(orders) + 1

    def test_refuses_a_retention_that_a_message_could_outlive(self, run: Run, stack: Stack) -> None:
        stack.parameters[closing.RETENTION_PARAMETER] = "59"  # type: ignore[index]
        assert run("close-books") == 2

    def test_says_what_it_would_do(
        self, run: Run, stack: Stack, orders: dict[str, str], pipeline: Pipeline, capsys: Any
    ) -> None:
        stack.parameters[closing.RETENTION_PARAMETER] = "60"  # type: ignore[index]
        stored = pipeline.items("OrderTable")

        assert run("close-books", "--dry-run") == 0
        assert "Nothing was deleted" in capsys.readouterr().out
        assert pipeline.items("OrderTable") == stored
        assert run("close-books") == 0
        assert len(pipeline.order_ids()) == 1


class TestRestoredWhileBooksWereClosed:
    """Each table is from before or after the closing, so the tables disagree."""

    @pytest.fixture
    def stages(self, orders: dict[str, str], tables: Tables, until: str) -> list[dict[str, list[Item]]]:
        stages = [all_items()]
        close_books(tables, until)
        return [*stages, all_items()]

    @pytest.mark.parametrize("cut", list(product((0, 1), repeat=len(RESTORED))), ids=str)
    def test_they_are_closed_in_all_tables_and_add_up(
        self, stages: list[dict[str, list[Item]]], cut: tuple[int, ...], tables: Tables
    ) -> None:
        # given
        replace_items({table: stages[at][table] for table, at in zip(RESTORED, cut, strict=True)})
        had = put_in(tables)
        # when
        found = reconcile(tables, MOMENT, dry_run=True)
        reconciled = reconcile(tables, MOMENT)
        # then
        assert reconciled.undecided == []
        assert found.counts == reconciled.counts
        assert reconciled.counts.keys() <= {HALF_CLOSED}
        assert bool(reconciled.cures) is (cut not in {(0, 0, 0), (1, 1, 1)})
        assert differences(without_history(tables)) == []
        assert put_in(tables) == had
        # and nothing is left to do
        assert reconcile(tables, MOMENT).cures == []

    def test_it_may_be_interrupted_anywhere(
        self, stages: list[dict[str, list[Item]]], tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        had = put_in(tables)
        for calls in range(1, 30):
            # given
            replace_items({"OrderTable": stages[0]["OrderTable"], "AccountTable": stages[1]["AccountTable"]})
            replace_items({"StockTable": stages[0]["StockTable"]})
            with monkeypatch.context() as patch:
                patch.setattr(closing, "write", interrupted(after_calls=calls))
                try:
                    reconcile(tables, MOMENT)
                    break
                except KeyboardInterrupt:
                    pass
            # when
            reconcile(tables, MOMENT)
            # then
            assert differences(without_history(tables)) == []
            assert put_in(tables) == had
        else:
            pytest.fail("it writes more than was thought")
        assert calls > 1


def interrupted(after_calls: int) -> Callable[..., bool]:
    write, left = closing.write, iter(range(after_calls))

    def writing(client: Any, actions: Sequence[dict[str, Any]]) -> bool:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return write(client, actions)

    return writing


def all_items() -> dict[str, list[Item]]:
    return {table: dynamodb_client().scan(TableName=table)["Items"] for table in RESTORED}


def ship(shop: Shop, stack: Stack, order_id: str) -> None:
    """Resend its message to ship, since its messages have expired by now."""
    order = Tables.of(stack).orders.orders([order_id])[order_id]
    assert order is not None
    message = ShipOrder.of(order.details, order.correlation_id)
    source, now = "/order-capture/operator", shop.pipeline.now()
    shop.pipeline.put("ship_order", encode(message, message_id="late", source=source, time=now).body)
    shop.pipeline.run()


def balances(shop: Shop, table: str) -> Iterator[dict[str, Any]]:
    return (item for item in shop.pipeline.items(table) if item["entry"]["S"] == "BALANCE")
