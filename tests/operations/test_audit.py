"""Audits of the ledgers after various orders, and after tampering with the tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from moto import mock_aws

from local.dynamodb_local import UnavailableError, dynamodb_local
from order_capture.adapters.dynamodb.types import to_item
from order_capture_ops import audit as audits
from order_capture_ops.audit import Difference, audit
from order_capture_ops.history import MIN_AGE_SECONDS
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run, open_shop
from tests.support.absent import absent
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of
from tests.support.tables import create_tables, dynamodb_client

DEADLINE = 900.0


Items = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def kept() -> tuple[dict[str, str], Items]:
    """Various orders, by name, and every item, by table.

    They are some minutes old: an audit tolerates a history that lags by a minute.
    """
    with mock_aws():
        pipeline = Pipeline()
        pipeline.wait(-5 * MIN_AGE_SECONDS)
        orders = business(open_shop(pipeline))
        client = dynamodb_client()
        names = client.list_tables()["TableNames"]
        items = {name: client.scan(TableName=name)["Items"] for name in names}
        pipeline.close()
    return orders, items


def business(shop: Shop) -> dict[str, str]:
    """Ship four orders, have four rejected, cancel two, leave two open; adjust balances.

    One product is deleted, and another one deleted and created again. Both have prices.
    """
    ask = shop.pipeline.ask
    orders = {
        "shipped": shop.order(order_of("alice", 25.5, pen=2)),
        "multi": shop.order(order_of("alice", 40, pen=3, ink=4)),
        "poor": shop.order(order_of("bob", 500, pen=1)),
        "short": shop.order(order_of("alice", 5, pen=1, ink=1000)),
        "nobody": shop.order(order_of("nobody", 5, pen=1)),
        "unicorn": shop.order(order_of("alice", 5, unicorn=1)),
    }
    shop.post({"orders": [order_of("alice", 1, ink=1), order_of("bob", 1, ink=1)]}, key="batch-1")
    orders["early"] = shop.order(order_of("alice", 5, pen=1))
    assert ask("POST", f"/order/{orders['early']}/cancel").status == 200
    shop.pipeline.run()
    orders["late"] = shop.order(order_of("alice", 7, pen=1))
    confirm(shop)
    assert ask("POST", f"/order/{orders['late']}/cancel").status == 200
    for amount in (50, -20):
        body = {"customerId": "alice", "adjust": amount}
        assert ask("POST", "/account", body, {"Idempotency-Key": f"key {amount}"}).status == 200
    for product, balances in (("cap", [7]), ("mug", [3, 2])):
        for balance in balances:
            ask("DELETE", f"/stock/{product}")
            listing: dict[str, Any] = {"productId": product, "balance": balance, "price": 4.5}
            assert ask("POST", "/stock", listing).status == 200
    assert ask("DELETE", "/stock/cap").status == 204
    shop.pipeline.run()
    orders["open"] = shop.order(order_of("alice", 3, pen=1, ink=1))
    confirm(shop)
    orders["half"] = shop.order(order_of("alice", 2, pen=1))
    shop.pipeline.deliver("balance_checker")
    shop.pipeline.publish_changes()
    assert shop.statuses([orders["open"], orders["half"]]) == ["CONFIRMED", "PENDING"]
    return orders


def confirm(shop: Shop) -> None:
    for name in ("balance_checker", "stock_checker", "order_update"):
        shop.pipeline.deliver(name)


@pytest.fixture
def day(kept: tuple[dict[str, str], Items], tables: Tables) -> dict[str, str]:
    """The orders by name, with all items in the tables."""
    orders, items = kept
    for name, those in items.items():
        for item in those:
            tables.orders.client.put_item(TableName=name, Item=item)
    return orders


def found(tables: Tables, grace_period: float = 0.0) -> list[Difference]:
    return audit(tables, DEADLINE, grace_period).differences


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))


class TestConsistentLedgers:
    def test_have_no_differences_and_are_counted(self, day: dict[str, str], tables: Tables) -> None:
        report = audit(tables, DEADLINE, grace_period=0)

        assert report.differences == []
        assert (report.accounts, report.products, report.deleted) == (2, 3, 1)
        assert report.orders == {"SHIPPED": 4, "REJECTED": 4, "CANCELLED": 2, "CONFIRMED": 1, "PENDING": 1}

    def test_are_read_page_by_page(self, day: dict[str, str], tables: Tables) -> None:
        pages = []

        def cut(params: dict[str, Any], **_: object) -> None:
            pages.append(params.setdefault("Limit", 2))

        for operation in ("Scan", "Query"):
            tables.orders.client.meta.events.register(f"provide-client-params.dynamodb.{operation}", cut)

        report = audit(tables, DEADLINE, grace_period=0)

        assert report.differences == []
        assert report.rechecked == 0
        assert (report.accounts, report.products, sum(report.orders.values())) == (2, 3, 12)
        assert len(pages) > 20

    def test_are_read_in_any_item_order(
        self, day: dict[str, str], tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages = type(tables.stock).pages

        def mixed_up(table: Any) -> Iterator[list[Any]]:
            yield from (page[::-1] for page in list(pages(table))[::-1])

        monkeypatch.setattr(type(tables.stock), "pages", mixed_up)

        report = audit(tables, DEADLINE, grace_period=0)

        assert (report.rechecked, report.differences) == (0, [])

    def test_may_be_empty(self, tables: Tables) -> None:
        assert found(tables) == []

    def test_have_no_differences_on_dynamodb_local(self, day: dict[str, str], tables: Tables) -> None:
        try:
            with dynamodb_local() as url:
                copy = copied(tables, dynamodb_client(url))
                report = audit(copy, DEADLINE, grace_period=0)
                assert (report.differences, report.rechecked) == ([], 0)
                assert sum(report.orders.values()) == 12
                change(copy.accounts, {"customerId": "alice", "entry": "BALANCE"}, balance=1)
                assert {each.entity for each in found(copy)} == {"account alice"}
        except UnavailableError as reason:
            absent(str(reason))


def copied(tables: Tables, client: Any) -> Tables:
    """Copy the items to other tables."""
    names = create_tables(client)
    for table in (tables.orders, *tables.ledgers, tables.history):
        for page in table.pages():
            for item in page:
                client.put_item(TableName=table.name, Item=item)
    assert {table.name for table in (tables.orders, *tables.ledgers, tables.history)} <= set(names.values())
    return Tables(
        replace(tables.orders, client=client),
        replace(tables.accounts, client=client),
        replace(tables.stock, client=client),
        replace(tables.history, client=client),
    )


def change(table: Any, key: dict[str, str], **figures: int) -> None:
    """Add to numbers of an item."""
    _update(table, key, figures, "SET #n = #n + :v")


def put(table: Any, key: dict[str, str], **values: Any) -> None:
    """Set attributes of an item, which is created if it does not exist."""
    _update(table, key, values, "SET #n = :v")


def _update(table: Any, key: dict[str, str], values: Mapping[str, Any], expression: str) -> None:
    for name, value in values.items():
        table.client.update_item(
            TableName=table.name,
            Key=to_item(key),
            UpdateExpression=expression,
            ExpressionAttributeNames={"#n": name},
            ExpressionAttributeValues=to_item({":v": value}),
        )


def delete(table: Any, key: dict[str, str]) -> None:
    before = table.client.delete_item(TableName=table.name, Key=to_item(key), ReturnValues="ALL_OLD")
    assert "Attributes" in before, f"there is no {key}"


def alice(entry: str = "BALANCE") -> dict[str, str]:
    return {"customerId": "alice", "entry": entry}


def pen(entry: str = "BALANCE") -> dict[str, str]:
    return {"productId": "pen", "entry": entry}


def mug(entry: str = "BALANCE") -> dict[str, str]:
    return {"productId": "mug", "entry": entry}


def credit(order_id: str, kind: str = "HOLD") -> dict[str, str]:
    """The amount that an order holds of its account, or that was released to it."""
    return {"customerId": f"ORDER#{order_id}", "entry": f"{kind}#{order_id}"}


def units(order_id: str, kind: str = "HOLD") -> dict[str, str]:
    """The units that an order holds of the stock, or that were released to it."""
    return {"productId": f"ORDER#{order_id}", "entry": f"{kind}#{order_id}"}


def amounts(**by_head: float) -> dict[str, Decimal]:
    return {head: Decimal(str(amount)) for head, amount in by_head.items()}


Tamper = Callable[[Tables, dict[str, str]], Any]


def adjustment(tables: Tables) -> dict[str, str]:
    items = (item for page in tables.accounts.pages() for item in page)
    return alice(
        next(
            entry
            for item in items
            for entry in [item["entry"]["S"]]
            if item["customerId"]["S"] == "alice" and entry.startswith("ADJUST#")
        )
    )


FAKE_HOLD: dict[str, Any] = {
    "entity": "pen",
    "amounts": amounts(pen=1),
    "time": "now",
    "outcome": "HELD",
    "id": "pen",
    "asked": Decimal(1),
}


TAMPERINGS: list[tuple[str, Tamper, str, str]] = [
    # description, change, expected entity, expected text
    (
        "a balance is one too high",
        lambda t, _: change(t.accounts, alice(), balance=1),
        "account alice",
        "balance (replayed",
    ),
    (
        "a balance is one too low",
        lambda t, _: change(t.stock, pen(), balance=-1),
        "product pen",
        "sum of all adjustments",
    ),
    (
        "a price is lower than that of the last adjustment",
        lambda t, _: put(t.stock, mug(), price=Decimal("0.01")),
        "product mug",
        "price (of the last adjustment)",
    ),
    (
        "a product without a price has one",
        lambda t, _: put(t.stock, pen(), price=Decimal(0)),
        "product pen",
        "price (of the last adjustment)",
    ),
    ("held is too high", lambda t, _: change(t.stock, pen(), held=1), "product pen", "held (by orders"),
    (
        "settled is too high",
        lambda t, _: change(t.accounts, alice(), settled=1),
        "account alice",
        "settled (by orders",
    ),
    (
        "held was moved to settled",
        lambda t, _: change(t.stock, pen(), held=-1, settled=1),
        "product pen",
        "settled (by orders",
    ),
    (
        "money was moved from settled to balance, with the same sum",
        lambda t, _: change(t.accounts, alice(), balance=5, settled=-5),
        "account alice",
        "balance (replayed",
    ),
    (
        "an amount is below zero",
        lambda t, _: change(t.stock, {"productId": "ink", "entry": "BALANCE"}, balance=-1000),
        "product ink",
        "balance",
    ),
    (
        "a hold is missing",
        lambda t, o: delete(t.stock, units(o["shipped"])),
        "product pen",
        "balance (replayed",
    ),
    (
        "a hold is missing, which its order shows as well",
        lambda t, o: delete(t.stock, units(o["shipped"])),
        "order shipped",
        "check result of product pen",
    ),
    (
        "an order of several products holds one of them only",
        lambda t, o: put(t.stock, units(o["open"]), amounts=amounts(ink=1)),
        "product pen",
        "held for order",
    ),
    (
        "a declined decision is missing",
        lambda t, o: delete(t.accounts, credit(o["poor"])),
        "order poor",
        "check result of account bob",
    ),
    (
        "an adjustment is missing",
        lambda t, _: delete(t.accounts, adjustment(t)),
        "account alice",
        "sum of all adjustments",
    ),
    (
        "a release is missing",
        lambda t, o: delete(t.stock, units(o["late"], "RELEASE")),
        "product pen",
        "which is CANCELLED",
    ),
    (
        "a release is smaller than its hold",
        lambda t, o: put(t.accounts, credit(o["late"], "RELEASE"), amounts=amounts(alice=6)),
        "account alice",
        "released for order",
    ),
    (
        "a hold is larger than what was ordered",
        lambda t, o: put(t.accounts, credit(o["shipped"]), amounts=amounts(alice=26.5)),
        "account alice",
        "held for order",
    ),
    (
        "a shipped order was released",
        lambda t, o: put(t.stock, units(o["shipped"], "RELEASE"), amounts=amounts(pen=2), time="now"),
        "product pen",
        "which is SHIPPED",
    ),
    (
        "there is a hold without an order",
        lambda t, _: put(t.stock, units("ghost"), **FAKE_HOLD),
        "product pen",
        "held for order ghost, which does not exist",
    ),
    (
        "an order is gone",
        lambda t, o: delete(t.orders, {"orderId": o["multi"]}),
        "product ink",
        "which does not exist",
    ),
    (
        "a confirmed order was set to SHIPPED by hand",
        lambda t, o: put(t.orders, {"orderId": o["open"]}, status="SHIPPED"),
        "product pen",
        "settled (by orders",
    ),
    (
        "a pending order was set to SHIPPED by hand",
        lambda t, o: put(t.orders, {"orderId": o["half"]}, status="SHIPPED"),
        "order half",
        "check, as it is SHIPPED",
    ),
    (
        "a refused order was set to SHIPPED by hand",
        lambda t, o: put(t.orders, {"orderId": o["unicorn"]}, status="SHIPPED"),
        "order unicorn",
        "check, as it is SHIPPED",
    ),
    (
        "a shipped order was set to CANCELLED by hand",
        lambda t, o: put(t.orders, {"orderId": o["shipped"]}, status="CANCELLED"),
        "account alice",
        "which is CANCELLED",
    ),
    (
        "a declined order holds something",
        lambda t, o: put(t.accounts, credit(o["poor"]), amounts=amounts(bob=1)),
        "account bob",
        "declined for order",
    ),
    (
        "a deleted product has units again",
        lambda t, _: put(t.stock, {"productId": "cap", "entry": "BALANCE"}, balance=Decimal(7)),
        "product cap",
        "balance, as it is deleted",
    ),
    (
        "a product was marked as deleted by hand",
        lambda t, _: put(t.stock, pen(), deleted=1),
        "product pen",
        "held, as it is deleted",
    ),
    (
        "a product that was deleted is no longer marked as that",
        lambda t, _: put(t.stock, {"productId": "cap", "entry": "BALANCE"}, deleted=0),
        "product cap",
        "deleted (by the last adjustment)",
    ),
    (
        "a hold is filed under another product's history",
        lambda t, o: put(t.stock, units(o["shipped"]), entity="ink"),
        "product ink",
        "entity of the hold",
    ),
    (
        "an entry is where nobody looks for it",
        lambda t, o: put(t.stock, pen(f"HOLD#{o['shipped']}"), **FAKE_HOLD),
        "product pen",
        "item HOLD#",
    ),
    (
        "a version was lowered",
        lambda t, _: change(t.stock, pen(), version=-1),
        "product pen",
        "version (its history is ahead)",
    ),
    ("a balance is gone", lambda t, _: delete(t.stock, pen()), "product pen", "balance item"),
    (
        "a balance is malformed",
        lambda t, _: put(t.stock, pen(), balance="many"),
        "product pen",
        "item BALANCE",
    ),
    (
        "an entry is malformed",
        lambda t, o: put(t.stock, units(o["shipped"]), outcome="MAYBE"),
        "product pen",
        "item HOLD#",
    ),
    (
        "an order is malformed",
        lambda t, o: put(t.orders, {"orderId": o["shipped"]}, status="LOST"),
        "order shipped",
        "item",
    ),
    (
        "an order is open for longer than any may be",
        lambda t, o: put(t.orders, {"orderId": o["half"]}, createTime="2020-01-01T00:00:00.000Z"),
        "order half",
        "open past the deadline",
    ),
]


@pytest.mark.parametrize(("done", "tamper", "who", "words"), TAMPERINGS, ids=[each[0] for each in TAMPERINGS])
def test_tampering_is_reported(
    day: dict[str, str], tables: Tables, done: str, tamper: Tamper, who: str, words: str
) -> None:
    tamper(tables, day)

    differences = found(tables)

    kind, _, name = who.partition(" ")
    entity = f"order {day[name]}" if kind == "order" else who
    assert [each for each in differences if each.entity == entity and words in each.what], differences
    assert all(each.expected != each.found for each in differences)


def at_recheck(number: int, shop: Shop) -> Callable[[str, int], None]:
    """Deliver all messages in progress after this many rechecks."""
    attempts = itertools.count(1)

    def on_progress(what: str, _: int) -> None:
        if what == "rechecks" and next(attempts) == number:
            shop.pipeline.run()

    return on_progress


class TestRunningSystem:
    """An audit of a running system does not report changes in progress."""

    @pytest.mark.full
    def test_has_no_false_positives(self, shop: Shop, tables: Tables) -> None:
        # given: something happens between any two reads of the audit
        orders = [shop.order(order_of("alice", 1, pen=1)) for _ in range(30)]
        shop.pipeline.run()
        moments = iter(range(61))

        def happen(**_: object) -> None:
            number = next(moments, None)
            if number is None:
                return
            if number == 60:
                shop.pipeline.run()
                return
            body = order_of("alice" if number % 3 else "bob", 4, pen=1, **({} if number % 2 else {"ink": 1}))
            orders.append(shop.order(body))
            if number % 5 == 0:
                shop.pipeline.ask("POST", f"/order/{orders[-1]}/cancel")
            names = ("balance_checker", "stock_checker", "order_update", "ship_order")
            shop.pipeline.deliver(names[number % 4])
            shop.pipeline.deliver(names[(number + 1) % 4])

        events = tables.orders.client.meta.events
        for operation in ("Scan", "Query"):
            events.register(
                f"provide-client-params.dynamodb.{operation}", lambda params, **_: params.update(Limit=4)
            )
        for operation in ("Scan", "Query", "BatchGetItem"):
            events.register(f"before-call.dynamodb.{operation}", happen)

        # when
        report = audit(tables, DEADLINE, grace_period=60)

        # then
        assert len(orders) == 90, "orders were placed during the audit"
        assert report.rechecked > 0, "some changes were in progress"
        assert report.differences == []

    def test_has_a_grace_period_for_a_release_in_progress(self, shop: Shop, tables: Tables) -> None:
        order = shop.order(order_of("alice", 5, pen=1))
        shop.pipeline.deliver("balance_checker")
        shop.pipeline.ask("POST", f"/order/{order}/cancel")
        assert [each.entity for each in found(tables)] == ["account alice"]

        report = audit(tables, DEADLINE, grace_period=60, on_progress=at_recheck(4, shop))

        assert report.differences == []

    def test_is_reported_if_it_never_stops_changing(self, day: dict[str, str], tables: Tables) -> None:
        put(tables.stock, pen(), balance=Decimal(77))
        numbers = iter(range(1, 10_000))
        tables.orders.client.meta.events.register(
            "before-call.dynamodb.BatchGetItem",
            lambda **_: put(tables.stock, pen(), version=Decimal(next(numbers))),
        )

        (difference,) = found(tables)

        assert (difference.entity, difference.found) == ("product pen", "always changing")


class TestCommand:
    def test_exits_0_with_a_summary(
        self, day: dict[str, str], run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("audit", "--grace-period", "0") == 0

        printed = capsys.readouterr().out
        assert "The books add up" in printed
        assert "SHIPPED" in printed

    def test_exits_1_with_the_differences(
        self, day: dict[str, str], tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        change(tables.accounts, alice(), balance=1)

        assert run("audit", "--grace-period", "0") == 1

        assert "account alice" in capsys.readouterr().out

    def test_prints_json(
        self, day: dict[str, str], tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("audit", "--json", "--grace-period", "0") == 0
        right = json.loads(capsys.readouterr().out)
        change(tables.stock, pen(), held=1)
        assert run("audit", "--json", "--grace-period", "0") == 1
        wrong = json.loads(capsys.readouterr().out)

        assert (right["ok"], right["differences"], right["orders"]["SHIPPED"]) == (True, [], 4)
        assert not wrong["ok"]
        assert {each["entity"] for each in wrong["differences"]} == {"product pen"}
