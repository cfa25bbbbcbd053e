"""Sixteen processes compete for the last unit of a product, repeatedly.

Processes instead of threads, so that Python's lock can't serialise them.
DynamoDB Local is AWS's own engine; the ledger is the real one.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import defaultdict
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from order_capture.adapters.dynamodb.ledger_repository import (
    BALANCE_ENTRY,
    DynamoLedgerRepository,
    balance_from,
    entry_from,
)
from order_capture.adapters.dynamodb.types import from_item
from order_capture.adapters.system import backoff, clock
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.check_orders import CheckOrders
from order_capture.application.ledger.hot_heads import HotHeads
from order_capture.application.retry import Retry
from order_capture.domain.ledger import STOCK, Adjustment, Balance, Entry, Hold, replay
from order_capture.domain.order import Outcome
from order_capture.domain.stripes import Heads, entity_of, head_names, split, total
from tests.conftest import Say
from tests.support.factories import check, details_of
from tests.support.fakes import MemoryPublisher
from tests.support.profile import AMOUNTS, FULL
from tests.support.tables import create_tables, dynamodb_client

PROCESSES = 16
STRIPES = 3
"""Then each head has one unit, and an order that finds none at its own takes that of another."""
ROUNDS = AMOUNTS.last_units
"""A round is 31 transactions, 150 ms of CPU: a thousand of them take a minute and a half on two idle cores.
With stripes a round takes several times as long, so there are fewer."""


def rounds_with(stripes: int) -> int:
    """The number of rounds for a product with this number of stripes."""
    return ROUNDS // (1 + 2 * stripes)


def want_the_last_unit(url: str, table: str, number: int, start: Barrier, stripes: int) -> None:
    """Create this process's share of the products, then order one unit of each, together with the others."""
    ledger = DynamoLedgerRepository(dynamodb_client(url), table, "productId", Retry(backoff))
    hot_heads = HotHeads()
    checks = CheckOrders(
        STOCK, ledger, frozenset, MemoryPublisher(), clock, random.random, Retry(backoff), hot_heads, stripes
    )
    rounds = rounds_with(stripes)
    for round_number in range(number, rounds, PROCESSES):
        one = BalanceRequest(
            f"pen-{round_number}", f"id-{round_number}", "", idempotent=False, balance=Decimal(1 + stripes)
        )
        AdjustBalance(STOCK, ledger, clock, Retry(backoff)).adjust(one)
        if stripes and (root := ledger.head(one.entity)):
            ledger.write(split(STOCK, one.entity, root, stripes), [], clock())
    for round_number in range(rounds):
        message = check(details_of(f"order-{round_number}-{number}", items=((f"pen-{round_number}", 1),)))
        if stripes:  # as after a recent conflict: each process begins at a different head
            pen = f"pen-{round_number}"
            hot_heads.remember(pen, head_names(pen, stripes)[number % (1 + stripes)], stripes, clock())
        start.wait()
        # Failed messages are retried, as from their queue.
        while checks.process([message]):
            pass


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stripes", [0, STRIPES])
def test_is_never_sold_twice(dynamodb_local_url: str, say: Say, stripes: int) -> None:
    # given
    client = dynamodb_client(dynamodb_local_url)
    table = create_tables(client, f"-last-unit-{stripes}")["StockTable"]
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    processes = [
        context.Process(target=want_the_last_unit, args=(dynamodb_local_url, table, number, start, stripes))
        for number in range(PROCESSES)
    ]

    # when
    began = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    seconds = time.monotonic() - began

    # then
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    heads, entries = read(client, table)
    rounds = rounds_with(stripes)
    assert heads.keys() == {f"pen-{number}" for number in range(rounds)}
    units = 1 + stripes
    for pen, parts in heads.items():
        assert parts.keys() == {*head_names(pen, stripes)}
        head = total(pen, parts)
        assert head is not None
        holds = [entry for entry in entries[pen] if isinstance(entry, Hold)]
        outcomes = [hold.decision.outcome for hold in holds]
        assert outcomes.count(Outcome.HELD) == units, f"{pen} was sold {outcomes.count(Outcome.HELD)} times"
        assert len(outcomes) == PROCESSES, f"every order for {pen} is decided"
        assert [head.balance, head.held, head.settled] == [0, units, 0]
        assert replay(entries[pen]) == head.balance
        assert sum(entry.amount for entry in entries[pen] if isinstance(entry, Adjustment)) == units
    where = f" at each of {units} heads" if stripes else ""
    say(
        f"The last unit{where} was wanted by {PROCESSES} processes {rounds:,} times "
        f"(of {FULL.last_units // (1 + 2 * stripes):,}) and sold once each time, "
        f"{rounds / seconds:.1f} rounds/s"
    )


def read(client: Any, name: str) -> tuple[dict[str, Heads], dict[str, list[Entry]]]:
    """The heads and the entries of every product."""
    items = [
        item
        for page in client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        for item in page["Items"]
    ]
    heads: dict[str, dict[str, Balance]] = defaultdict(dict)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for item in items:
        values = from_item(item)
        head = item["productId"]["S"]
        if item["entry"]["S"] == BALANCE_ENTRY:
            heads[entity_of(head)][head] = balance_from(values)
            continue
        entry = entry_from("productId", values)
        entries[entry.entity if isinstance(entry, (Hold, Adjustment)) else ""].append(entry)
    return dict(heads), entries
