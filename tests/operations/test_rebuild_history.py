"""The history is made from the ledgers as the stream makes it, whenever and however often it is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture.adapters.dynamodb.types import to_item
from order_capture_ops import audit as audits
from order_capture_ops.audit import Difference, audit
from order_capture_ops.history import Rebuilt, rebuild
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.operations.test_audit import business
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

LONG_AFTER = 300.0  # seconds
Items = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(autouse=True)
def no_time_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_PAUSES", (0.0, 0.0))


@pytest.fixture
def day(shop: Shop) -> dict[str, str]:
    """A day of all kinds of business, long ago."""
    orders = business(shop)
    shop.pipeline.wait(LONG_AFTER)
    return orders


def history(tables: Tables) -> Items:
    return {
        (item["entity"]["S"], item["line"]["S"]): item for page in tables.history.pages() for item in page
    }


def forget(tables: Tables, *lines: tuple[str, str]) -> None:
    for entity, line in lines:
        tables.history.client.delete_item(
            TableName=tables.history.name, Key=to_item({"entity": entity, "line": line})
        )


def found(tables: Tables) -> list[Difference]:
    return audit(tables, 10 * LONG_AFTER, patience=0).differences


def test_a_whole_history_is_rebuilt_as_the_stream_wrote_it(day: dict[str, str], tables: Tables) -> None:
    written = history(tables)
    forget(tables, *written)

    report = rebuild(tables)

    assert history(tables) == written
    assert report == Rebuilt(accounts=3, products=5, lines=len(written))
    assert found(tables) == []
    assert rebuild(tables).lines == 0


def test_what_was_deleted_and_made_anew_is_rebuilt_as_the_stream_wrote_it(shop: Shop, tables: Tables) -> None:
    shop.open({"alice": 50}, {"pen": 0, "ink": 3})
    for path in ("/account/alice", "/stock/pen", "/stock/ink"):
        shop.pipeline.wait(1)
        assert shop.pipeline.ask("DELETE", path).status == 204
    shop.pipeline.wait(1)
    shop.open({"alice": 7}, {"pen": 0})
    shop.pipeline.run()
    shop.pipeline.wait(LONG_AFTER)
    written = history(tables)
    forget(tables, *written)

    rebuild(tables)

    assert history(tables) == written
    assert sum("deleted" in item for item in written.values()) == 3
    assert found(tables) == []


@pytest.mark.parametrize("number", [0, 5, -1])
def test_a_line_that_is_missing_is_found_and_written(
    day: dict[str, str], tables: Tables, number: int
) -> None:
    written = history(tables)
    forget(tables, sorted(written)[number])

    (difference,) = found(tables)
    assert difference.what == "entries that its history does not have (rebuild-history writes them)"
    rebuild(tables)

    assert history(tables) == written
    assert found(tables) == []


def test_a_line_without_the_names_of_its_entries_is_given_them(day: dict[str, str], tables: Tables) -> None:
    # given that an older release wrote a head, and so the stream could tell by the figures only
    written = history(tables)
    key = next(key for key in written if "#SETTLE#" in key[1] and key[0] == "productId#pen")
    amounts = [int(amount["N"]) for amount in written[key]["changes"]["M"].values()]
    nameless = f"{key[1].partition('#')[0]}##{int(written[key]['version']['N']):012}"
    forget(tables, key)
    tables.history.client.put_item(
        TableName=tables.history.name,
        Item={
            **written[key],
            "line": {"S": nameless},
            "changes": {"M": {"SETTLE": {"N": str(sum(amounts))}}},
        },
    )
    assert len(found(tables)) == 1
    # when
    report = rebuild(tables)
    # then
    assert report.lines == 1
    assert history(tables) == written


def test_what_the_stream_may_be_about_to_write_is_left_to_it(shop: Shop, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker"):
        shop.pipeline.deliver(name)

    assert rebuild(tables).lines == 0
    assert found(tables) == []

    shop.pipeline.wait(LONG_AFTER)
    assert rebuild(tables).lines == 6  # four balances, and two holds


def test_the_stream_and_a_rebuilding_write_the_same_lines(
    pipeline: Pipeline, day: dict[str, str], tables: Tables
) -> None:
    written = history(tables)
    forget(tables, *written)
    rebuild(tables)
    pipeline.replay_streams()
    pipeline.publish_changes()

    assert history(tables) == written


def test_figures_that_do_not_follow_from_each_other_are_found(day: dict[str, str], tables: Tables) -> None:
    written = history(tables)
    key = next(key for key in written if key[0] == "productId#pen" and "#SETTLE" in key[1])
    tables.history.client.put_item(
        TableName=tables.history.name, Item={**written[key], "balance": {"N": "1000"}}
    )

    (difference,) = found(tables)

    assert difference.entity == "product pen"
    assert difference.what.startswith("its history's balance, held and settled")
    assert difference.found.startswith("1000, ")


class TestTheCommand:
    def test_it_says_what_is_missing_and_writes_it_only_when_it_is_to(
        self, day: dict[str, str], tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        written = history(tables)
        forget(tables, *written)

        assert run("rebuild-history", "--dry-run") == 0
        assert f"Lines: {len(written)} missing; nothing was written." in capsys.readouterr().out
        assert history(tables) == {}

        assert run("rebuild-history", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["lines"], told["dryRun"], told["left"]) == (len(written), False, [])
        assert history(tables) == written

    def test_what_can_not_be_found_out_is_named_and_the_rest_is_written(
        self, day: dict[str, str], tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        written = history(tables)
        forget(tables, *written)
        client = tables.orders.client
        client.delete_item(TableName=tables.orders.name, Key=to_item({"orderId": day["multi"]}))

        assert run("rebuild-history") == 1

        assert capsys.readouterr().out.count(f"its order {day['multi']} can't be read") == 3
        assert {entity for entity, _ in history(tables)} == {
            entity for entity, _ in written if not entity.endswith(("alice", "pen", "ink"))
        }
