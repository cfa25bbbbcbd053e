"""Measures what only a client of the database can, for `measure`, in the application's environment.

Prints one JSON object. All orders go through `Store`, as in the application, but without HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable
from decimal import Decimal

import asyncpg
import uvloop

from benchmarks.traditional.store import Store
from order_capture.adapters.system import clock, new_id
from order_capture.domain.order import Order, OrderDetails, OrderLine

SAMPLES, RUNS = 400, 5
HOT_CONNECTIONS = 16
"""Enough that some connection always waits for the lock; more only adds overhead for waiters."""
HOT_SECONDS = 2.0


async def main() -> None:
    """Measure, on a database in which `measure` has created the customers and products."""
    url = os.environ["DATABASE_URL"]
    connection = await asyncpg.connect(url)
    round_trips = [await _milliseconds(lambda: connection.fetchval("SELECT 1")) for _ in range(SAMPLES)]
    await connection.close()
    durable, lazy = await Store.open(url, 1), await Store.open(f"{url}&synchronous_commit=off", 1)
    commits = []
    for _ in range(RUNS):
        # Alternately, so that other load on the machine affects both.
        pairs = [
            (await _milliseconds(lambda: _order(durable)), await _milliseconds(lambda: _order(lazy)))
            for _ in range(SAMPLES // RUNS)
        ]
        commits.append(statistics.median(with_commit - without for with_commit, without in pairs))
    await durable.close()
    await lazy.close()
    hot = [await _hot_row(url) for _ in range(RUNS)]
    found = {
        "round_trip_ms": statistics.median(round_trips),
        "commit_ms": statistics.median(commits),
        "hot_row_lock_ms": statistics.median(hot),
        "hot_row_lock_ms_min": min(hot),
    }
    print(json.dumps(found))


async def _hot_row(url: str) -> float:
    """Milliseconds that an order locks a hot product: its orders are placed one by one."""
    store = await Store.open(url, HOT_CONNECTIONS)
    await asyncio.gather(*(_order(store, "hot") for _ in range(HOT_CONNECTIONS)))
    started, placed = time.perf_counter(), 0

    async def buy() -> None:
        nonlocal placed
        while time.perf_counter() - started < HOT_SECONDS:
            await _order(store, "hot")
            placed += 1

    await asyncio.gather(*(buy() for _ in range(HOT_CONNECTIONS)))
    seconds = time.perf_counter() - started
    await store.close()
    return 1000 * seconds / placed


async def _order(store: Store, product_id: str = "product-1") -> None:
    customer_id = f"customer-{time.perf_counter_ns() % 100}"
    details = OrderDetails(new_id(), customer_id, (OrderLine(product_id, 1),), Decimal("1.00"))
    await store.place(Order.place(details, now=clock(), correlation_id="probe", fingerprint=""), keyed=False)


async def _milliseconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    await action()  # type: ignore[misc]
    return 1000 * (time.perf_counter() - started)


uvloop.run(main())
