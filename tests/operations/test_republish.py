"""Every state is published again, so that whoever keeps a copy has it as the tables have it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from order_capture.domain.errors import TransientError
from order_capture_ops.republish import Republished, republish
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.support.copies import Copy
from tests.support.shop import Shop, order_of


@pytest.fixture
def traded(shop: Shop) -> Shop:
    """Two customers, and two products that are there and one that is no more; an order that is open."""
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    shop.open({}, {"cap": 7})
    assert shop.pipeline.ask("DELETE", "/stock/cap").status == 204
    shop.order(order_of("bob", 5, ink=1))
    shop.pipeline.deliver("balance_checker")
    return shop


def test_a_copy_that_is_made_anew_is_what_the_tables_hold(traded: Shop, run: Run) -> None:
    listeners = {
        "account": traded.pipeline.listen("AccountTopic"),
        "stock": traded.pipeline.listen("StockTopic"),
    }

    assert run("republish") == 0

    copies = {route: Copy() for route in listeners}
    for route, take in listeners.items():
        copies[route].hear(take())
    for route, entity in (("account", "alice"), ("account", "bob"), ("stock", "pen"), ("stock", "ink")):
        assert copies[route].view(entity) == traded.pipeline.ask("GET", f"/{route}/{entity}").body
    assert copies["stock"].states["cap"]["deleted"]
    assert traded.account("bob")[1] == 5, "an open order is in it"


def test_a_copy_that_lost_some_and_knows_newer_than_others_is_put_right(traded: Shop, run: Run) -> None:
    take = traded.pipeline.listen("StockTopic")
    assert run("republish", "--stock") == 0
    old = take()
    traded.order(order_of("alice", 10, pen=2))
    traded.pipeline.run()
    assert run("republish", "--stock") == 0
    new = take()

    copy = Copy()
    copy.hear(new)
    copy.hear(old)  # of a run that was overtaken

    assert copy.view("pen") == traded.pipeline.ask("GET", "/stock/pen").body


def test_it_is_the_same_event_as_the_one_that_the_stream_told(traded: Shop, run: Run) -> None:
    take = traded.pipeline.listen("StockTopic")
    traded.pipeline.publish_changes()
    told = {event["id"]: event["data"] for event in map(json.loads, take())}

    run("republish")

    again = {event["id"]: event["data"] for event in map(json.loads, take())}
    assert {each["productId"] for each in again.values()} == {"pen", "ink", "cap"}
    assert again.keys() & told.keys()
    assert all(again[event_id] == told[event_id] for event_id in again.keys() & told.keys())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--accounts"], (2, 0)), (["--stock"], (0, 3)), (["--all"], (2, 3)), ([], (2, 3))],
)
def test_one_ledger_or_both(traded: Shop, run: Run, arguments: list[str], told: tuple[int, int]) -> None:
    accounts, stock = (traded.pipeline.listen(topic) for topic in ("AccountTopic", "StockTopic"))

    assert run("republish", *arguments) == 0

    assert (len(accounts()), len(stock())) == told


def test_a_dry_run_counts_and_publishes_nothing(
    traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    take = traded.pipeline.listen("StockTopic")

    assert run("republish", "--dry-run", "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert said["published"] is False
    assert said["ledgers"]["product"] == {"states": 3, "deleted": 1, "unreadable": [], "refused": []}
    assert said["ledgers"]["account"]["states"] == 2
    assert take() == []


def test_it_says_what_it_did(traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("republish", "--stock") == 0

    said = capsys.readouterr().out
    assert "States of products: 3, of which deleted: 1" in said
    assert "account" not in said


def test_all_pages_are_read_and_more_than_a_batch_is_sent(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.open({}, {f"product-{number}": number for number in range(25)})
    take, requested = shop.pipeline.listen("StockTopic"), []

    def cut(params: dict[str, Any], **_: object) -> None:
        requested.append(params.setdefault("Limit", 7))

    tables.stock.client.meta.events.register("provide-client-params.dynamodb.Scan", cut)
    read: list[int] = []

    done = republish(stack, tables.stock, tick=lambda _, number: read.append(number))

    assert done == Republished(states=27)
    assert len(requested) > 3
    assert sum(read) == len(shop.pipeline.items("StockTable"))
    assert len(take()) == 27


def test_no_more_are_sent_in_a_second_than_it_is_told(
    shop: Shop, stack: Stack, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.open({}, {f"product-{number}": number for number in range(10)})
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)

    republish(stack, tables.stock, rate=4)

    assert now == 12 / 4


def test_a_head_that_is_broken_is_named_and_the_others_are_published(
    traded: Shop, run: Run, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.stock.client.update_item(
        TableName=tables.stock.name,
        Key={"productId": {"S": "pen"}, "entry": {"S": "BALANCE"}},
        UpdateExpression="SET held = :v",
        ExpressionAttributeValues={":v": {"S": "many"}},
    )
    take = traded.pipeline.listen("StockTopic")

    assert run("republish") == 1

    assert "product pen" in capsys.readouterr().out
    assert len(take()) == 2


def test_what_sns_does_not_take_is_to_be_done_again(
    traded: Shop, stack: Stack, tables: Tables, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = stack.client("sns")

    def fail(**_: object) -> None:
        raise client.exceptions.ClientError({"Error": {"Code": "Throttled"}}, "PublishBatch")

    monkeypatch.setattr(client, "publish_batch", fail)
    broken = Stack(stack.name, stack.outputs, stack.parameters, lambda _: client)

    with pytest.raises(TransientError):
        republish(broken, tables.stock)
