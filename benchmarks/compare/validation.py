"""Compare the model of the monolith with the monolith itself, on this machine, by orders a second.

The model's inputs are the CPU times of an order (measured.toml) and of the clients, which run here as well,
and the cores that other programs leave free. It computes the orders a second from these.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from benchmarks.compare.monolith import Constants, Servers, capacity
from benchmarks.traditional import measure
from benchmarks.traditional.database import MAX_CONNECTIONS
from benchmarks.traditional.server import Server, running

ROUNDS, SECONDS, CLIENTS = 3, 3.0, 16
AGREES = (1 / 1.6, 2.0)
"""How far the model may be off. It may be further off in the monolith's favour: waking the next order that
waits for a product's row is not modelled, and a model that is too fast decides nothing for serverless."""


@dataclass(frozen=True)
class Compared:
    """Orders a second in the median round."""

    case: str
    measured: float
    model: float

    @property
    def ratio(self) -> float:
        """Model ÷ measured."""
        return self.model / self.measured

    @property
    def agrees(self) -> bool:
        """Whether the model is accurate enough for the conclusions drawn from it."""
        least, most = AGREES
        return least <= self.ratio <= most


@dataclass(frozen=True)
class _Round:
    orders_per_second: float
    client_cpu_ms: float
    """Per order."""
    others: float
    """Cores that were busy with other work."""


def compare(
    constants: Constants, seed: int, progress: Callable[[str], None] = lambda what: None
) -> list[Compared]:
    """Run the traditional design here, and its model.

    Raises:
        CommandError: PostgreSQL or its environment is not installed.
    """
    found = []
    with running() as server:
        measure._fill(server)
        for case, products, product in (
            ("many products", measure.PRODUCTS, None),
            ("one product", 1, "hot"),
        ):
            rounds = []
            for number in range(ROUNDS):
                progress(f"{case}, {number + 1} of {ROUNDS}")
                rounds.append(_play(server, product))
            ratios = [(each, _model(each, constants, products, seed)) for each in rounds]
            each, model = sorted(ratios, key=lambda pair: pair[1] / pair[0].orders_per_second)[ROUNDS // 2]
            found.append(Compared(case, each.orders_per_second, model))
    return found


def _play(server: Server, product: str | None) -> _Round:
    clients = [measure._Client(server) for _ in range(CLIENTS)]

    def request(number: int) -> measure.Request:
        return "POST", "/order", measure._body(measure._order(number, product))

    for number, client in enumerate(clients):
        client.send(*request(number))  # opens its connection before the clock starts
        client.sent = 0
    before, own, started = _busy(), _ours(server), time.perf_counter()
    client_cpu = time.process_time()
    threads = [
        threading.Thread(target=each.send_until, args=(started + SECONDS, request)) for each in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, client_cpu = time.perf_counter() - started, time.process_time() - client_cpu
    others = (_busy() - before) - (_ours(server) - own)
    sent = sum(client.sent for client in clients)
    for client in clients:
        client.close()
    return _Round(sent / seconds, 1000 * client_cpu / sent, max(0.0, others / seconds))


def _model(each: _Round, constants: Constants, products: int, seed: int) -> float:
    cores = os.cpu_count() or 1
    # Even on a busy machine, the system gives us a share.
    speed = max(0.1, (cores - each.others) / cores)
    there = Servers(cores, 1, cores, MAX_CONNECTIONS, standby=False, shared=True, speed=speed)
    return statistics.median(
        capacity(
            there,
            constants,
            clients=CLIENTS,
            products=products,
            seconds=2,
            seed=seed,
            client_cpu_ms=each.client_cpu_ms,
        )
        for seed in (seed, seed + 1, seed + 2)
    )


def _busy() -> float:
    """Busy seconds of all cores since the machine started."""
    times = psutil.cpu_times()
    return float(
        times.user + times.nice + times.system + times.irq + times.softirq + getattr(times, "steal", 0.0)
    )


def _ours(server: Server) -> float:
    return sum(server.cpu_seconds()) + time.process_time()
