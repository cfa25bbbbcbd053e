"""Every state is published again, so that consumers' copies equal the tables."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from order_capture.domain.errors import TransientError
from order_capture_ops.republish import RepublishedStates, republish
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.support.copies import Copy
from tests.support.shop import Shop, order_of


@pytest.fixture
def traded(shop: Shop) -> Shop:
    """Two customers, two products and a deleted one, and an open order."""
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    shop.open({}, {"cap": 7})
    assert shop.pipeline.ask("DELETE", "/stock/cap").status == 204
    shop.order(order_of("bob", 5, ink=1))
    shop.pipeline.deliver("balance_checker")
    return shop


def test_a_new_copy_equals_the_tables(traded: Shop, run: Run) -> None:
    listeners = {
        "account": traded.pipeline.listen("AccountTopic"),
        "stock": traded.pipeline.listen("StockTopic"),
    }

    assert run("republish") == 0

    copies = {route: Copy() for route in listeners}
    for route, take in listeners.items():
        copies[route].apply(take())
    for route, entity in (("account", "alice"), ("account", "bob"), ("stock", "pen"), ("stock", "ink")):
        assert copies[route].view(entity) == traded.pipeline.ask("GET", f"/{route}/{entity}").body
    assert copies["stock"].states["cap"]["deleted"]
    assert traded.account("bob")[1] == 5, "the open order's hold is included"


def test_a_copy_with_lost_and_newer_states_is_repaired(traded: Shop, run: Run) -> None:
    take = traded.pipeline.listen("StockTopic")
    assert run("republish", "--stock") == 0
    old = take()
    traded.order(order_of("alice", 10, pen=2))
    traded.pipeline.run()
    assert run("republish", "--stock") == 0
    new = take()

    copy = Copy()
    copy.apply(new)
    copy.apply(old)  # from a slower run

    assert copy.view("pen") == traded.pipeline.ask("GET", "/stock/pen").body


def test_a_republished_state_equals_the_one_from_the_stream(traded: Shop, run: Run) -> None:
    take = traded.pipeline.listen("StockTopic")
    traded.pipeline.publish_changes()
    printed = {event["id"]: event["data"] for event in map(json.loads, take())}

    run("republish")

    again = {event["id"]: event["data"] for event in map(json.loads, take())}
    assert {each["productId"] for each in again.values()} == {"pen", "ink", "cap"}
    assert again.keys() & printed.keys()
    assert all(again[event_id] == printed[event_id] for event_id in again.keys() & printed.keys())


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [(["--accounts"], (2, 0)), (["--stock"], (0, 3)), (["--all"], (2, 3)), ([], (2, 3))],
)
def test_one_ledger_or_both(traded: Shop, run: Run, arguments: list[str], printed: tuple[int, int]) -> None:
    accounts, stock = (traded.pipeline.listen(topic) for topic in ("AccountTopic", "StockTopic"))

    assert run("republish", *arguments) == 0

    assert (len(accounts()), len(stock())) == printed


def test_a_dry_run_counts_and_publishes_nothing(
    traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    take = traded.pipeline.listen("StockTopic")

    assert run("republish", "--dry-run", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["published"] is False
    assert printed["ledgers"]["product"] == {"states": 3, "deleted": 1, "unreadable": [], "refused": []}
    assert printed["ledgers"]["account"]["states"] == 2
    assert take() == []


def test_it_prints_what_it_published(traded: Shop, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("republish", "--stock") == 0

    printed = capsys.readouterr().out
    assert "States of products: 3, of which deleted: 1" in printed
    assert "account" not in printed


def test_all_pages_are_read_and_several_batches_are_sent(shop: Shop, stack: Stack, tables: Tables) -> None:
    shop.open({}, {f"product-{number}": number for number in range(25)})
    take, requested = shop.pipeline.listen("StockTopic"), []

    def cut(params: dict[str, Any], **_: object) -> None:
        requested.append(params.setdefault("Limit", 7))

    tables.stock.client.meta.events.register("provide-client-params.dynamodb.Scan", cut)
    read: list[int] = []

    done = republish(stack, tables.stock, on_progress=lambda _, number: read.append(number))

    assert done == RepublishedStates(states=27)
    assert len(requested) > 3
    assert sum(read) == len(shop.pipeline.items("StockTable"))
    assert len(take()) == 27


def test_states_are_sent_at_the_given_rate(
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


def test_a_malformed_balance_is_named_and_the_others_are_published(
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


def test_a_throttled_publish_raises_a_transient_error(
    traded: Shop, stack: Stack, tables: Tables, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = stack.client("sns")

    def fail(**_: object) -> None:
        raise client.exceptions.ClientError({"Error": {"Code": "Throttled"}}, "PublishBatch")

    monkeypatch.setattr(client, "publish_batch", fail)
    broken = Stack(stack.name, stack.outputs, stack.parameters, lambda _: client)

    with pytest.raises(TransientError):
        republish(broken, tables.stock)
