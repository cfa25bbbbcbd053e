"""The history is rebuilt from the ledgers as the stream writes it, at any time and as often as needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture.adapters.dynamodb.types import to_item
from order_capture_ops import audit as audits
from order_capture_ops.audit import Difference, audit
from order_capture_ops.history import RebuiltHistory, rebuild
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.operations.test_audit import business
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

LONG_AFTER = 300.0  # seconds
Items = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))


@pytest.fixture
def day(shop: Shop) -> dict[str, str]:
    """Various old orders."""
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
    return audit(tables, 10 * LONG_AFTER, grace_period=0).differences


def test_a_whole_history_is_rebuilt_as_the_stream_wrote_it(day: dict[str, str], tables: Tables) -> None:
    written = history(tables)
    forget(tables, *written)

    report = rebuild(tables)

    assert history(tables) == written
    assert report == RebuiltHistory(accounts=3, products=5, records=len(written))
    assert found(tables) == []
    assert rebuild(tables).records == 0


def test_deleted_and_recreated_entities_are_rebuilt_as_the_stream_wrote_them(
    shop: Shop, tables: Tables
) -> None:
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
def test_a_missing_record_is_reported_and_written(day: dict[str, str], tables: Tables, number: int) -> None:
    written = history(tables)
    forget(tables, sorted(written)[number])

    (difference,) = found(tables)
    assert difference.what == "entries missing from its history (rebuild-history writes them)"
    rebuild(tables)

    assert history(tables) == written
    assert found(tables) == []


def test_a_record_without_entry_ids_gets_them(day: dict[str, str], tables: Tables) -> None:
    # given: an older release wrote the balance, so the stream had the amounts but no entry ids
    written = history(tables)
    key = next(key for key in written if "#SETTLE#" in key[1] and key[0] == "productId#pen")
    amounts = [int(amount["N"]) for amount in written[key]["changes"]["M"].values()]
    without_ids = f"{key[1].partition('#')[0]}##{int(written[key]['version']['N']):012}"
    forget(tables, key)
    tables.history.client.put_item(
        TableName=tables.history.name,
        Item={
            **written[key],
            "line": {"S": without_ids},
            "changes": {"M": {"SETTLE": {"N": str(sum(amounts))}}},
        },
    )
    assert len(found(tables)) == 1
    # when
    report = rebuild(tables)
    # then
    assert report.records == 1
    assert history(tables) == written


def test_recent_changes_are_left_to_the_stream(shop: Shop, tables: Tables) -> None:
    shop.order(order_of("alice", 10, pen=1))
    for name in ("balance_checker", "stock_checker"):
        shop.pipeline.deliver(name)

    assert rebuild(tables).records == 0
    assert found(tables) == []

    shop.pipeline.wait(LONG_AFTER)
    assert rebuild(tables).records == 6  # four balances, and two holds


def test_the_stream_and_a_rebuild_write_the_same_records(
    pipeline: Pipeline, day: dict[str, str], tables: Tables
) -> None:
    written = history(tables)
    forget(tables, *written)
    rebuild(tables)
    pipeline.replay_streams()
    pipeline.publish_changes()

    assert history(tables) == written


def test_a_balance_that_does_not_follow_from_the_one_before_is_reported(
    day: dict[str, str], tables: Tables
) -> None:
    written = history(tables)
    key = next(key for key in written if key[0] == "productId#pen" and "#SETTLE" in key[1])
    tables.history.client.put_item(
        TableName=tables.history.name, Item={**written[key], "balance": {"N": "1000"}}
    )

    (difference,) = found(tables)

    assert difference.entity == "product pen"
    assert difference.what.startswith("its history's balance, held and settled")
    assert difference.found.startswith("1000, ")


class TestCommand:
    def test_a_dry_run_counts_missing_records_and_writes_none(
        self, day: dict[str, str], tables: Tables, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        written = history(tables)
        forget(tables, *written)

        assert run("rebuild-history", "--dry-run") == 0
        assert f"Records: {len(written)} missing; nothing was written." in capsys.readouterr().out
        assert history(tables) == {}

        assert run("rebuild-history", "--json") == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["records"], printed["dryRun"], printed["left"]) == (len(written), False, [])
        assert history(tables) == written

    def test_undeterminable_histories_are_named_and_the_rest_is_written(
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
