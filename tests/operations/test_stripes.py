"""Audits and rebuilt histories of a hot product with stripes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from moto import mock_aws

from order_capture import bootstrap
from order_capture_ops import audit as audits
from order_capture_ops.audit import AuditReport, Difference, audit
from order_capture_ops.close_books import close_books
from order_capture_ops.history import RebuiltHistory, rebuild
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run, open_shop
from tests.operations.test_audit import Items, change, delete, put, units
from tests.operations.test_rebuild_history import forget, history
from tests.support.copies import Copy
from tests.support.pipeline import Pipeline
from tests.support.shop import CHECKERS, Shop, order_of
from tests.support.tables import dynamodb_client

DEADLINE = 10_000.0
STRIPES = 4
LONG_AFTER = 300.0  # seconds


@dataclass(frozen=True)
class Sale:
    """An old flash sale: the orders by name, every item by table, and its start and end."""

    orders: dict[str, str]
    items: Items
    times: dict[str, str]


@pytest.fixture(scope="module")
def sale() -> Sale:
    with mock_aws():
        pipeline = Pipeline()
        shop = open_shop(pipeline)
        with contended(pipeline):
            orders, times = flash_sale(shop)
        client = dynamodb_client()
        items = {name: client.scan(TableName=name)["Items"] for name in client.list_tables()["TableNames"]}
        pipeline.close()
    return Sale(orders, items, times)


@contextmanager
def contended(pipeline: Pipeline) -> Iterator[None]:
    """Every hold on the root of shirts conflicts with another transaction."""

    def conflict(params: dict[str, Any], **_: object) -> tuple[object, dict[str, Any]] | None:
        actions = [action for each in json.loads(params["body"])["TransactItems"] for action in each.values()]
        codes = ["TransactionConflict" if is_hold_of_shirt(action) else "None" for action in actions]
        if "TransactionConflict" not in codes:
            return None
        return SimpleNamespace(status_code=400, headers={}), {
            "Error": {"Code": "TransactionCanceledException", "Message": "conflict"},
            "CancellationReasons": [{"Code": code} for code in codes],
            "ResponseMetadata": {"HTTPStatusCode": 400},
        }

    each_in_turn = itertools.cycle([(number + 0.5) / STRIPES for number in range(STRIPES)])
    bootstrap.hot_heads.cache_clear()
    for checker in CHECKERS:
        pipeline.configure(checker, LEDGER_STRIPES=str(STRIPES))
    with (
        pipeline.hooked("before-call.dynamodb.TransactWriteItems", conflict),
        mock.patch.object(bootstrap, "random_fraction", each_in_turn.__next__),
    ):
        yield
    bootstrap.hot_heads.cache_clear()


def is_hold_of_shirt(action: dict[str, Any]) -> bool:
    values = action.get("ExpressionAttributeValues", {})
    return (
        action.get("Key", {}).get("productId") == {"S": "shirt"}
        and ":held" in values
        and not values[":held"]["N"].startswith("-")
    )


def flash_sale(shop: Shop) -> tuple[dict[str, str], dict[str, str]]:
    """Sell most of the shirts, some of them with pens; refuse, cancel, leave open, restock and reprice."""
    shop.open({}, {"shirt": 40})
    shop.pipeline.run()
    times = {"opened": shop.pipeline.now()}
    shop.pipeline.wait(1)
    orders = {}
    for number in range(6):
        orders[f"shipped {number}"] = shop.order(order_of("alice", 1, shirt=2))
        check(shop)
    orders["refilled"] = shop.order(order_of("alice", 1, shirt=15))
    orders["with pens"] = shop.order(order_of("alice", 1, shirt=1, pen=2))
    orders["too many"] = shop.order(order_of("alice", 1, shirt=14))
    shop.pipeline.run()
    times["sold"] = shop.pipeline.now()
    shop.pipeline.wait(1)
    adjust(shop, {"adjust": 7})
    adjust(shop, {"price": 4.5})
    orders["wrong price"] = shop.order(order_of("alice", 1, shirt=1))
    shop.pipeline.run()
    adjust(shop, {"price": None})
    adjust(shop, {"balance": 21})
    orders["cancelled"] = shop.order(order_of("alice", 1, shirt=2))
    check(shop)
    assert shop.cancel(orders["cancelled"]).status == 200
    shop.pipeline.run()
    orders["open"] = shop.order(order_of("alice", 1, shirt=3))
    check(shop)
    shop.pipeline.publish_changes()
    times["over"] = shop.pipeline.now()
    return orders, times


def check(shop: Shop) -> None:
    for checker in CHECKERS:
        shop.pipeline.deliver(checker)


def adjust(shop: Shop, request: dict[str, Any]) -> None:
    assert shop.pipeline.ask("POST", "/stock", {"productId": "shirt", **request}).status == 200
    shop.pipeline.wait(1)


@pytest.fixture
def day(sale: Sale, pipeline: Pipeline, tables: Tables) -> Shop:
    """The shop long after the sale."""
    for name, those in sale.items.items():
        for item in those:
            tables.orders.client.put_item(TableName=name, Item=item)
    pipeline.skip_streams()
    pipeline.wait(LONG_AFTER)
    return Shop(pipeline)


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))


def audited(tables: Tables) -> AuditReport:
    return audit(tables, DEADLINE, grace_period=0)


def found(tables: Tables) -> list[Difference]:
    return audited(tables).differences


def shirt(number: int = 0) -> dict[str, str]:
    """The key of the root, or of a stripe."""
    return {"productId": f"shirt#{number}" if number else "shirt", "entry": "BALANCE"}


def hold_of(tables: Tables, order_id: str) -> dict[str, Decimal]:
    return dict(tables.stock.holds([order_id])[order_id].amounts)


def elsewhere(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    """The same amounts, each on the next stripe."""
    names = {f"shirt#{number}": f"shirt#{number % STRIPES + 1}" for number in range(1, STRIPES + 1)}
    return {names.get(head, head): amount for head, amount in amounts.items()}


def test_the_sale_is_consistent_and_its_stripes_are_counted(day: Shop, sale: Sale, tables: Tables) -> None:
    report = audited(tables)

    assert (report.differences, report.rechecked) == ([], 0)
    assert (report.products, report.stripes) == (3, STRIPES)
    assert report.orders == {"SHIPPED": 8, "REJECTED": 2, "CANCELLED": 1, "PENDING": 1}
    assert day.stock("shirt") == [Decimal(18), Decimal(3), Decimal(28)]
    assert any("#" in head for head in hold_of(tables, sale.orders["with pens"])), "stripes were sold from"


def move(tables: Tables, figure: str) -> None:
    """Move a unit from the second stripe to the first, as no transfer does."""
    change(tables.stock, shirt(1), **{figure: 1})
    change(tables.stock, shirt(2), **{figure: -1})


Tamper = Callable[[Tables, dict[str, str]], Any]

TAMPERINGS: list[tuple[str, Tamper, list[tuple[str, str]]]] = [
    (
        "a stripe's balance is one too high",
        lambda t, _: change(t.stock, shirt(3), balance=1),
        [
            ("product shirt", "balance (replayed from the entries)"),
            ("product shirt, stripe 3", "balance, held and settled at version"),
        ],
    ),
    (
        "the root's balance is one too low",
        lambda t, _: change(t.stock, shirt(), balance=-1),
        [
            ("product shirt", "balance + held + settled"),
            ("product shirt, root", "balance, held and settled at version"),
        ],
    ),
    (
        "units were moved from one stripe to another",
        lambda t, _: move(t, "balance"),
        [
            ("product shirt, stripe 1", "balance, held and settled at version"),
            ("product shirt, stripe 2", "balance, held and settled at version"),
        ],
    ),
    (
        "a stripe is below zero",
        lambda t, _: change(t.stock, shirt(2), balance=-100),
        [("product shirt, stripe 2", "balance")],
    ),
    (
        "a stripe's held units were moved to another",
        lambda t, _: move(t, "held"),
        [
            ("product shirt, stripe 1", "held (by orders"),
            ("product shirt, stripe 2", "held (by orders"),
        ],
    ),
    (
        "a stripe's settled units are too many",
        lambda t, _: change(t.stock, shirt(4), settled=1),
        [("product shirt, stripe 4", "settled (by orders"), ("product shirt", "balance + held + settled")],
    ),
    (
        "a stripe is gone",
        lambda t, _: delete(t.stock, shirt(3)),
        [("product shirt, stripe 3", "balance item")],
    ),
    (
        "a stripe is malformed",
        lambda t, _: put(t.stock, shirt(3), held="many"),
        [("product shirt, stripe 3", "item BALANCE")],
    ),
    (
        "a stripe's version was lowered",
        lambda t, _: change(t.stock, shirt(3), version=-1),
        [("product shirt, stripe 3", "version (its history is ahead)")],
    ),
    (
        "a stripe is deleted",
        lambda t, _: put(t.stock, shirt(2), deleted=1),
        [("product shirt, stripe 2", "deleted (as its root)")],
    ),
    (
        "a stripe has another price",
        lambda t, _: put(t.stock, shirt(2), price=Decimal(1)),
        [("product shirt, stripe 2", "price (as its root)")],
    ),
    (
        "a root is gone",
        lambda t, _: delete(t.stock, shirt()),
        [("product shirt, root", "balance item")],
    ),
    (
        "a root has fewer stripes than there are",
        lambda t, _: change(t.stock, shirt(), stripes=-1),
        [("product shirt, stripe 4", "number of the stripe")],
    ),
    (
        "there is a stripe of a product that has none",
        lambda t, _: put(
            t.stock,
            {"productId": "pen#1", "entry": "BALANCE"},
            balance=0,
            held=0,
            settled=0,
            version=1,
            updateTime="2026-01-01T00:00:00.000Z",
        ),
        [("product pen, stripe 1", "number of the stripe")],
    ),
    (
        "an order's hold was moved to another stripe",
        lambda t, o: put(t.stock, units(o["open"]), amounts=elsewhere(hold_of(t, o["open"]))),
        [("product shirt, stripe", "held (by orders")],
    ),
    (
        "an order's hold is on a stripe that there is not",
        lambda t, o: put(t.stock, units(o["open"]), amounts={"shirt#9": Decimal(3)}),
        [
            ("product shirt, stripe 9", "number of the stripe"),
            ("product shirt, stripe", "held (by orders"),
        ],
    ),
    (
        "units were returned to another stripe than they were held on",
        lambda t, o: put(
            t.stock,
            units(o["cancelled"], "RELEASE"),
            amounts=elsewhere(hold_of(t, o["cancelled"])),
        ),
        [("product shirt, stripe", "released for order")],
    ),
]


@pytest.mark.parametrize(("done", "tamper", "reported"), TAMPERINGS, ids=[each[0] for each in TAMPERINGS])
def test_tampering_is_reported_with_the_part(
    day: Shop, sale: Sale, tables: Tables, done: str, tamper: Tamper, reported: list[tuple[str, str]]
) -> None:
    tamper(tables, sale.orders)

    differences = found(tables)

    for entity, words in reported:
        assert [d for d in differences if d.entity.startswith(entity) and words in d.what], differences
    assert {each.entity.partition(",")[0] for each in differences} == {reported[0][0].partition(",")[0]}
    assert all(each.expected != each.found for each in differences)


def test_the_command_prints_the_parts(
    day: Shop, tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("audit", "--grace-period", "0") == 0
    assert ["stripes", str(STRIPES)] in [line.split() for line in capsys.readouterr().out.splitlines()]
    change(tables.stock, shirt(3), balance=1)

    assert run("audit", "--grace-period", "0") == 1

    printed = capsys.readouterr().out
    assert "product shirt, stripe 3: balance, held and settled at version" in printed
    assert max(map(len, printed.splitlines())) <= 80


class TestRunningSystem:
    def test_what_comes_after_the_heads_were_read_is_left_out(
        self, day: Shop, tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given: two orders are placed and shipped during every scan of the stock
        scans = itertools.count()

        def sell(params: dict[str, Any], **_: object) -> None:
            if params["TableName"] == tables.stock.name and next(scans) < 20:
                with contended(day.pipeline):
                    for _each in range(2):
                        day.order(order_of("alice", 1, shirt=1))
                    day.pipeline.run()

        tables.orders.client.meta.events.register(
            "provide-client-params.dynamodb.Scan", lambda params, **_: params.update(Limit=15)
        )
        tables.orders.client.meta.events.register("provide-client-params.dynamodb.Scan", sell)

        # when
        report = audit(tables, DEADLINE, grace_period=0)

        # then
        assert next(scans) > 2
        assert report.rechecked > 0
        assert report.differences == []
        assert day.stock("shirt")[2] > 28

    def test_a_wrong_balance_is_found_all_the_same(self, day: Shop, tables: Tables) -> None:
        change(tables.stock, shirt(3), balance=1)
        scans = itertools.count()

        def sell(params: dict[str, Any], **_: object) -> None:
            if params["TableName"] == tables.stock.name and next(scans) < 20:
                with contended(day.pipeline):
                    day.order(order_of("alice", 1, shirt=1))
                    day.pipeline.run()

        tables.orders.client.meta.events.register("provide-client-params.dynamodb.Scan", sell)

        differences = found(tables)

        assert ("product shirt", "balance (replayed from the entries)") in {
            (each.entity, each.what) for each in differences
        }


def lines(tables: Tables, head: str) -> list[tuple[str, str]]:
    return [key for key in sorted(history(tables)) if key[0] == f"productId#{head}"]


class TestHistory:
    def test_a_missing_record_of_a_hold_is_rebuilt(self, day: Shop, sale: Sale, tables: Tables) -> None:
        written = history(tables)
        ((head, _),) = hold_of(tables, sale.orders["open"]).items()
        key = next(each for each in lines(tables, head) if sale.orders["open"] in each[1])
        forget(tables, key)

        (difference,) = found(tables)
        assert difference.entity == f"product shirt, stripe {head.partition('#')[2]}"
        assert rebuild(tables).records == 1

        assert history(tables) == written
        assert found(tables) == []

    def test_every_single_record_is_rebuilt_as_the_stream_wrote_it(self, day: Shop, tables: Tables) -> None:
        written = history(tables)
        for number in range(STRIPES + 1):
            for key in lines(tables, f"shirt#{number}" if number else "shirt"):
                forget(tables, key)
                rebuild(tables)
                assert history(tables)[key] == written[key]

    def test_a_stripes_lost_history_adds_up_again_and_claims_nothing(
        self, day: Shop, sale: Sale, tables: Tables
    ) -> None:
        forget(tables, *lines(tables, "shirt#2"))
        (difference,) = found(tables)
        assert (difference.entity, difference.expected) == ("product shirt, stripe 2", "0")

        report = rebuild(tables)

        assert (report.left, found(tables)) == ([], [])
        assert rebuild(tables).records == 0
        assert day.pipeline.ask("GET", f"/stock/shirt?at={sale.times['sold']}").status == 503
        assert day.pipeline.ask("GET", f"/stock/shirt?at={sale.times['over']}").body["balance"] == 18

    def test_a_whole_lost_history_adds_up_again(self, day: Shop, tables: Tables) -> None:
        written = history(tables)
        forget(tables, *written)

        report = rebuild(tables)

        assert report.left == []
        assert found(tables) == []
        others = {key: item for key, item in written.items() if "shirt" not in key[0]}
        assert {key: item for key, item in history(tables).items() if "shirt" not in key[0]} == others
        shown = day.pipeline.ask("GET", "/stock/shirt/history?limit=100").body["entries"]
        assert len(shown) == sum(
            len([name for name in item.get("changes", {"M": {"declined": 1}})["M"] if "TRANSFER" not in name])
            for key, item in written.items()
            if "shirt" in key[0]
        )

    def test_an_entry_that_only_the_history_has_is_reported(
        self, day: Shop, sale: Sale, tables: Tables
    ) -> None:
        written = history(tables)
        key = next(each for each in lines(tables, "pen") if "SETTLE" in each[1])
        ((name, amount),) = written[key]["changes"]["M"].items()
        changes = {"M": {name: amount, "HOLD#ghost": {"N": "0"}}}
        tables.history.client.put_item(
            TableName=tables.history.name, Item={**written[key], "changes": changes}
        )

        (difference,) = found(tables)

        assert (difference.entity, difference.found) == ("product pen", "HOLD#ghost")

    def test_no_transfer_is_invented_for_a_product_without_stripes(self, day: Shop, tables: Tables) -> None:
        change(tables.stock, {"productId": "pen", "entry": "BALANCE"}, balance=5)
        written = history(tables)

        assert rebuild(tables) == RebuiltHistory(accounts=2, products=3)
        assert history(tables) == written


def test_a_copy_of_a_product_with_stripes_is_its_sum(
    day: Shop, stack: Stack, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    take, copy = day.pipeline.listen("StockTopic"), Copy()

    assert run("republish", "--stock") == 0

    copy.apply(take())
    assert "States of products: 3" in capsys.readouterr().out
    assert copy.view("shirt") == day.pipeline.ask("GET", "/stock/shirt").body
    assert set(copy.states) == {"shirt", "pen", "ink"}


def test_a_product_with_an_unreadable_stripe_is_not_published(
    day: Shop, tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tables.stock, shirt(2), balance="many")
    take = day.pipeline.listen("StockTopic")

    assert run("republish", "--stock") == 1

    assert "product shirt" in capsys.readouterr().out
    assert len(take()) == 2


def test_the_books_of_a_striped_product_are_closed_head_by_head(
    day: Shop, sale: Sale, tables: Tables
) -> None:
    # given
    before = [tables.stock.get(shirt(number)) for number in range(STRIPES + 1)]
    # when
    closed = close_books(tables, sale.times["over"])
    # then
    assert (closed.left, closed.orders) == ([], len(sale.orders) - 1)
    assert day.pipeline.order_ids() == [sale.orders["open"]]
    assert [tables.stock.get(shirt(number)) for number in range(STRIPES + 1)] == before
    closings = tables.stock.closings(shirt(number)["productId"] for number in range(STRIPES + 1))
    settled = {name: closing["settled"] for name, closing in closings.items() if "settled" in closing}
    assert settled == {
        head["productId"]["S"]: head["settled"] for head in before if head and head["settled"] != {"N": "0"}
    }
    assert any("#" in head for head in settled), "stripes were sold from"
    assert found(tables) == []
