"""The last unit of a product, wanted by sixteen processes at the same moment, over and over.

Processes and not threads: nothing of Python keeps them from being at the same place at the same time.
DynamoDB Local is AWS's own engine; the ledger is the real one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import defaultdict
from decimal import Decimal
from multiprocessing.synchronize import Barrier

import pytest

from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.adapters.system import backoff, clock
from order_capture.application.ledger.adjust_balance import AdjustBalance, BalanceRequest
from order_capture.application.ledger.check_orders import CheckOrders
from order_capture.application.retry import Retry
from order_capture.domain.ledger import STOCK, Adjustment, Balance, Entry, Hold, replay
from order_capture.domain.order import Outcome
from order_capture_ops.tables import BALANCE_ENTRY, LedgerTable, read_balance
from tests.conftest import Say
from tests.support.factories import check, details_of
from tests.support.fakes import MemoryPublisher
from tests.support.profile import AMOUNTS, FULL
from tests.support.tables import create_tables, dynamodb_client

PROCESSES = 16
ROUNDS = AMOUNTS.last_units
"""A round is 31 transactions, 150 ms of CPU: a thousand of them take a minute and a half on two cores that do
nothing else."""


def want_the_last_unit(url: str, table: str, number: int, start: Barrier) -> None:
    """Create this process's share of the products, then order one unit of each, together with the others."""
    ledger = DynamoLedgerRepository(dynamodb_client(url), table, "productId")
    for round_number in range(number, ROUNDS, PROCESSES):
        one = BalanceRequest(
            f"pen-{round_number}", f"id-{round_number}", "", idempotent=False, balance=Decimal(1)
        )
        AdjustBalance(STOCK, ledger, clock, Retry(backoff)).adjust(one)
    for round_number in range(ROUNDS):
        message = check(details_of(f"order-{round_number}-{number}", items=((f"pen-{round_number}", 1),)))
        start.wait()
        # Failed messages are retried, as from their queue.
        while CheckOrders(STOCK, ledger, MemoryPublisher(), clock, Retry(backoff)).process([message]):
            pass


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_is_never_sold_twice(dynamodb_local_url: str, say: Say) -> None:
    # given
    client = dynamodb_client(dynamodb_local_url)
    table = create_tables(client, "-last-unit")["StockTable"]
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    processes = [
        context.Process(target=want_the_last_unit, args=(dynamodb_local_url, table, number, start))
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
    heads, entries = read(LedgerTable(client, table, STOCK, "productId", "product"))
    assert heads.keys() == {f"pen-{number}" for number in range(ROUNDS)}
    for pen, head in heads.items():
        holds = [entry for entry in entries[pen] if isinstance(entry, Hold)]
        outcomes = [hold.decision.outcome for hold in holds]
        assert outcomes.count(Outcome.HELD) == 1, f"{pen} was sold {outcomes.count(Outcome.HELD)} times"
        assert len(outcomes) == PROCESSES, f"every order for {pen} is decided"
        assert [head.balance, head.held, head.settled] == [0, 1, 0]
        assert replay(entries[pen]) == head.balance
        assert sum(entry.amount for entry in entries[pen] if isinstance(entry, Adjustment)) == 1
    say(
        f"The last unit was wanted by {PROCESSES} processes {ROUNDS:,} times "
        f"(of {FULL.last_units:,}) and sold once each time, "
        f"{ROUNDS / seconds:.0f} rounds/s"
    )


def read(table: LedgerTable) -> tuple[dict[str, Balance], dict[str, list[Entry]]]:
    heads: dict[str, Balance] = {}
    entries: dict[str, list[Entry]] = defaultdict(list)
    for page in table.pages():
        for item in page:
            if item["entry"]["S"] == BALANCE_ENTRY:
                heads[table.entity(item)] = read_balance(item)
            else:
                entries[table.entity(item)].append(table.read_entry(item))
    return heads, entries
