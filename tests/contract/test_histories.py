"""What the history of a ledger keeps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest

from order_capture.adapters.dynamodb import history_repository
from order_capture.adapters.dynamodb.history_repository import DynamoHistoryRepository
from order_capture.application.ledger.ports import HistoryCursor, HistoryRepository
from order_capture.application.retry import Retry
from order_capture.domain.history import ChangeType, Commit, HistoryRecord, LedgerEntry
from order_capture.domain.ledger import Balance
from tests.support.factories import EARLIER, NOW, a_commit, a_decline
from tests.support.fakes import RecordedBackoff
from tests.support.stores import Stores
from tests.support.tables import create_tables

LATER = "2026-11-20T11:00:00.000Z"
_numbers = itertools.count(1)


@pytest.fixture
def history(stores: Stores) -> HistoryRepository:
    return stores.stock_history


def second(number: int) -> str:
    return f"2026-11-20T10:{number // 60:02}:{number % 60:02}.000Z"


def test_lines_come_newest_first_as_they_were_written(history: HistoryRepository) -> None:
    lines: list[HistoryRecord] = [
        a_commit("pen", "a", "b"),
        a_decline("pen", time=LATER),
        Commit("pen", (), Balance(Decimal("0.01"), version=1, update_time=EARLIER), previous_time=""),
    ]
    history.put(lines)

    assert history.newest("pen", None, 10) == [lines[1], lines[0], lines[2]]
    assert history.newest("pen", None, 2) == [lines[1], lines[0]]
    assert history.newest("pen", HistoryCursor(NOW, lines[0].key, 0), 10) == [lines[0], lines[2]]


def test_what_was_deleted_and_what_was_set_again_are_distinguished(history: HistoryRepository) -> None:
    deletion = Commit(
        "pen",
        (LedgerEntry(ChangeType.ADJUST, Decimal(-5), "deletion"),),
        Balance(Decimal(0), settled=Decimal(2), version=3, update_time=NOW, deleted=True),
        previous_time=EARLIER,
    )
    again = Commit(
        "pen",
        (LedgerEntry(ChangeType.ADJUST, Decimal(7), "set again"),),
        Balance(Decimal(7), settled=Decimal(2), version=4, update_time=LATER),
        previous_time=NOW,
        was_deleted=True,
    )
    history.put([deletion, again])

    assert history.newest("pen", None, 10) == [again, deletion]
    assert history.transaction_at("pen", EARLIER) == deletion
    assert history.transaction_at("pen", NOW) == again


def test_a_line_keeps_the_price_of_before_and_after_it(history: HistoryRepository) -> None:
    lines = [
        replace(
            a_commit("pen", version=number, time=second(number), previous_time=EARLIER),
            price_before=None if before is None else Decimal(before),
            after=Balance(
                Decimal(9),
                version=number,
                update_time=second(number),
                price=None if after is None else Decimal(after),
            ),
        )
        for number, (before, after) in enumerate([(None, "0.00"), ("0.00", "2.50"), ("2.50", None)], 1)
    ]

    history.put(lines)

    assert history.newest("pen", None, 10) == lines[::-1]


def test_a_line_that_is_written_again_is_there_once(history: HistoryRepository) -> None:
    history.put([a_commit("pen"), a_commit("pen")])
    history.put([a_commit("pen")])

    assert history.newest("pen", None, 10) == [a_commit("pen")]


def test_one_product_s_lines_are_not_another_s(history: HistoryRepository) -> None:
    history.put([a_commit("pen"), a_commit("pen2")])

    assert [line.entity for line in history.newest("pen", None, 10)] == ["pen"]
    assert history.newest("ink", None, 10) == []
    assert history.transaction_at("ink", EARLIER) is None


def test_more_lines_than_a_batch_takes_are_all_written(history: HistoryRepository) -> None:
    history.put([a_decline("pen", f"order-{number}") for number in range(60)])

    assert len(history.newest("pen", None, 100)) == 60


@pytest.mark.parametrize(
    ("at", "version"),
    [(EARLIER, 2), ("2026-11-20T09:59:59.999Z", 2), (NOW, 3), ("2026-11-20T08:59:59.999Z", None)],
)
def test_the_commit_that_covers_a_time_is_found(
    history: HistoryRepository, at: str, version: int | None
) -> None:
    history.put(
        [
            a_commit("pen", "a", version=2, previous_time=EARLIER, time=NOW),
            a_commit("pen", "b", version=3, previous_time=NOW, time=LATER),
            a_decline("pen", "c", time=NOW),
        ]
    )

    found = history.transaction_at("pen", at)

    assert (found.after.version if found else None) == version


def test_it_is_found_behind_many_that_do_not_cover_it(history: HistoryRepository) -> None:
    # given a write whose clock was an hour ahead, so that those after it carry earlier times
    ahead = a_commit("pen", "ahead", version=2, previous_time=EARLIER, time=LATER)
    others = [
        a_commit("pen", f"order-{number}", version=3 + number, previous_time=LATER, time=second(number))
        for number in range(3 * history_repository.COMMITS)
    ]
    history.put([ahead, *others])

    assert history.transaction_at("pen", EARLIER) == ahead


def test_in_a_gap_it_is_not_looked_for_through_all_that_came_later(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_repository, "COMMITS", 2)
    client = request.getfixturevalue("moto_client")
    table = create_tables(client, f"-h{next(_numbers)}")["HistoryTable"]
    history = DynamoHistoryRepository(client, table, "productId", Retry(RecordedBackoff()))
    history.put(
        [
            a_commit("pen", f"order-{n}", version=9 + n, previous_time=second(n), time=second(n + 1))
            for n in range(60)
        ]
    )
    calls: list[object] = []
    client.meta.events.register("before-call.dynamodb.Query", lambda **_: calls.append(None))

    assert history.transaction_at("pen", EARLIER) is None
    assert len(calls) == history_repository.MOST_CALLS


def test_accounts_and_products_of_the_same_id_are_two_things(stores: Stores) -> None:
    stores.stock_history.put([a_commit("one")])

    assert stores.account_history.newest("one", None, 10) == []
