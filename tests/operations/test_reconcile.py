"""Tables restored to any different times: the ledgers are made to agree with the orders.

All commits of a simulation's schedule (several clients, crashes, lost and doubled messages, hot products) are
recorded. Each table is then restored to its state after any one of them, reconciled and audited, and the
pipeline continues from there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from unittest import mock

import pytest

from order_capture.adapters.dynamodb.types import from_item
from order_capture_ops import audit as audits
from order_capture_ops.restore.reconcile import (
    ADJUSTED,
    FIGURES,
    NO_DECLINE,
    NO_HOLD,
    NOT_RELEASED,
    RELEASED,
    TOO_EARLY,
    UNKNOWN_ORDER,
    reconcile,
)
from order_capture_ops.tables import HistoryTable, Tables
from tests.operations.conftest import Run
from tests.simulation import functions
from tests.simulation.books import Books
from tests.simulation.run import run_seed
from tests.support.aws.dynamodb import Change
from tests.support.aws.expressions import Item
from tests.support.shop import CONSUMERS, Shop, order_of
from tests.support.tables import dynamodb_client

RESTORED = ("OrderTable", "AccountTable", "StockTable")
MOMENT = datetime.now(UTC) - timedelta(hours=1)
SCHEDULES = [range(first, first + 10) for first in range(0, 60, 10)]
CUTS = 3  # of each schedule
APART = 6  # commits, in every second schedule, of ten to thirty; in the others, as many as there are
NO_DEADLINE = 10.0**9  # the simulation's clock is not today's

Cut = Mapping[str, int]
"""The number of commits of the schedule that each table has."""


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))


@cache
def commits_of(seed: int) -> Sequence[Sequence[Change]]:
    noted: list[Sequence[Change]] = []
    commit = Books.commit

    def noting(books: Books, changes: Sequence[Change]) -> None:
        noted.append(changes)
        commit(books, changes)

    with functions.simulated(), mock.patch.object(Books, "commit", noting):
        outcome = run_seed(seed)
    assert not outcome.broken
    return noted


def cuts_of(seed: int) -> Iterator[Cut]:
    chance, end = random.Random(seed), len(commits_of(seed))
    apart = APART if seed % 2 else end
    for _ in range(CUTS):
        middle = chance.randint(0, end)
        yield {table: chance.randint(max(0, middle - apart), min(end, middle + apart)) for table in RESTORED}


def restore(seed: int, cut: Cut) -> None:
    """Replace the content of the three tables by that at the cut."""
    items: dict[str, dict[tuple[str, ...], Item]] = {table: {} for table in RESTORED}
    for number, changes in enumerate(commits_of(seed)):
        for change in changes:
            if change.table in items and number < cut[change.table]:
                items[change.table][change.key] = change.new
    replace_items({table: [item for item in by_key.values() if item] for table, by_key in items.items()})


def replace_items(items: Mapping[str, Sequence[Item]]) -> None:
    client = dynamodb_client()
    for table, those in items.items():
        schema = client.describe_table(TableName=table)["Table"]["KeySchema"]
        names = [each["AttributeName"] for each in schema]
        for item in client.scan(TableName=table)["Items"]:
            client.delete_item(TableName=table, Key={name: item[name] for name in names})
        for item in those:
            client.put_item(TableName=table, Item=item)


def without_history(tables: Tables) -> Tables:
    return Tables(
        tables.orders, tables.accounts, tables.stock, HistoryTable(tables.history.client, "", exists=False)
    )


def differences(tables: Tables) -> list[str]:
    found = audits.audit(without_history(tables), NO_DEADLINE, grace_period=0).differences
    return [f"{each.entity}: {each.what}: {each.expected} {each.found}" for each in found]


def put_in(tables: Tables) -> dict[str, Decimal]:
    """The total of each account and product: balance, held and settled."""
    sums: dict[str, Decimal] = {}
    for ledger in tables.ledgers:
        for _, items in ledger.balance_items():
            for values in map(from_item, items):
                name = ledger.label(str(values[ledger.key]).partition("#")[0])
                amounts = (values[figure] for figure in ("balance", "held", "settled"))
                sums[name] = sums.get(name, Decimal(0)) + sum(amounts, Decimal(0))
    return sums


@pytest.mark.timeout(600)  # a block has thirty restores
@pytest.mark.parametrize("seeds", SCHEDULES, ids=str)
def test_wherever_the_tables_were_cut_the_books_add_up_or_what_is_short_is_named(
    seeds: range, tables: Tables
) -> None:
    for seed, cut in ((each, cut) for each in seeds for cut in cuts_of(each)):
        # GIVEN tables as they were at moments apart
        restore(seed, cut)
        before = put_in(tables)
        # WHEN they are reconciled
        result = reconcile(tables, MOMENT)
        # THEN the books add up, and no amounts are invented
        if not result.undecided:
            assert differences(tables) == [], (seed, cut)
            assert put_in(tables) == before, (seed, cut)
            continue
        # OR the amounts that a person must decide on are named
        if any("was deleted" in each for each in result.undecided):
            continue
        assert result.short, (seed, cut, result.undecided)
        assert differences(tables), (seed, cut)
        # AND WHEN these are booked THEN the books add up, and nothing else was added
        assert reconcile(tables, MOMENT, adjust=True).undecided == [], (seed, cut)
        assert differences(tables) == [], (seed, cut)
        changed = {name for name, amount in put_in(tables).items() if amount != before.get(name)}
        assert changed <= result.short.keys(), (seed, cut)


Stages = Sequence[Mapping[str, Sequence[Item]]]


def stages_of(shop: Shop) -> Stages:
    """The tables' content after each step of orders with every final status, one of them waiting."""
    client, stages = dynamodb_client(), []

    def note() -> None:
        stages.append({table: client.scan(TableName=table)["Items"] for table in RESTORED})

    def step(*functions: str) -> None:
        for function in functions:
            shop.pipeline.deliver(function)
            note()

    note()
    shop.order(order_of("alice", 100, pen=2))
    note()
    step(*CONSUMERS)
    refused = shop.order(order_of("alice", 20, pen=1000))
    note()
    step(*CONSUMERS[:3], "balance_checker")  # which releases
    assert shop.status(refused) == "REJECTED"
    cancelled = shop.order(order_of("alice", 30, pen=3, ink=1))
    step(*CONSUMERS[:3])
    shop.cancel(cancelled)
    note()
    step("balance_checker", "stock_checker")
    early = shop.order(order_of("bob", 1, ink=1))
    shop.cancel(early)
    note()
    step("balance_checker", "stock_checker")
    assert shop.statuses([cancelled, early]) == ["CANCELLED", "CANCELLED"]
    shop.pipeline.ask("POST", "/account", {"customerId": "bob", "adjust": 90})
    note()
    shop.order(order_of("bob", 95, ink=2))
    note()
    step(*CONSUMERS)
    shop.order(order_of("alice", 1, ink=1))
    note()
    return stages


def restore_stage(stages: Stages, cut: Cut) -> None:
    replace_items({table: stages[number][table] for table, number in cut.items()})


def moves(stages: Stages, number: int, before: str, after: str) -> bool:
    """Whether an order's status changes like this at a step."""
    old, new = (
        {item["orderId"]["S"]: item["status"]["S"] for item in stage["OrderTable"] if "status" in item}
        for stage in stages[number : number + 2]
    )
    return any(status == before and new[order_id] == after for order_id, status in old.items())


@pytest.mark.timeout(600)  # it runs about twenty restored stacks until they are idle
def test_each_kind_of_cut_is_cured_and_every_order_comes_to_its_end(
    shop: Shop, tables: Tables, run: Run
) -> None:
    # GIVEN the tables' content at each step of orders with every final status
    stages = stages_of(shop)
    chance = random.Random(7)
    cured: set[str] = set()
    last = len(stages) - 1
    topped_up = last - 6  # see `stages_of`
    confirmed = max(number for number in range(last) if moves(stages, number, "CONFIRMED", "CANCELLED"))
    cuts = [
        (last - 1, topped_up - 1, last),  # shipped what the account did not have yet
        (confirmed, confirmed + 3, confirmed + 3),  # both ledgers have released what was cancelled later
    ]
    for number in range(0, len(stages), 2):
        near = range(max(0, number - 6), min(len(stages), number + 7))
        cuts.append((number, chance.choice(near), chance.choice(near)))
    for numbers in cuts:
        # AND the ledgers restored to other ones than the orders
        cut = dict(zip(RESTORED, numbers, strict=True))
        shop.pipeline.wait(1000)  # for the watchdog's messages, which are delayed
        for name in shop.pipeline.consumers():
            shop.pipeline.held_up(name)
        restore_stage(stages, cut)
        ended = {
            item["orderId"]["S"]: item["status"]["S"]
            for item in stages[cut["OrderTable"]]["OrderTable"]
            if item.get("status", {}).get("S") in ("SHIPPED", "REJECTED", "CANCELLED", "EXPIRED")
        }
        # WHEN it is reconciled
        result = reconcile(tables, MOMENT, adjust=True)
        assert result.undecided == [], cut
        cured |= result.counts.keys()
        # THEN the books add up
        assert differences(tables) == [], cut
        # AND WHEN the watchdog rechecks the open orders, in a stack without earlier messages
        shop.pipeline.skip_streams()
        assert run("watch", "--scan") == 0
        shop.pipeline.wait(2.0)
        shop.pipeline.run()
        # THEN all orders have ended, the ended ones as they had, and the books still add up
        assert differences(tables) == [], cut
        statuses = {
            order_id: shop.status(order_id)
            for page in tables.orders.pages()
            for order_id in (item["orderId"]["S"] for item in page if "status" in item)
        }
        assert set(statuses.values()) <= {"SHIPPED", "REJECTED", "CANCELLED", "EXPIRED"}, cut
        assert ended.items() <= statuses.items(), cut
    # AND each kind of contradiction occurred
    assert cured >= {UNKNOWN_ORDER, TOO_EARLY, RELEASED, NOT_RELEASED, NO_HOLD, NO_DECLINE, FIGURES, ADJUSTED}
