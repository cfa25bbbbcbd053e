"""`make traditional MEASURE=1`: what an order costs the traditional design on this machine.

Writes benchmarks/compare/measured.toml, which the model of `make compare` reads. It takes about a minute.
Other load on the machine raises all figures. So CPU times are from the run with the lowest, and latencies are
medians of several runs.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import platform
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.traditional import database
from benchmarks.traditional.server import PYTHON, Server, running
from local.console import console, step
from local.engine import ROOT
from order_capture_ops.cli import Parser, run
from order_capture_ops.errors import CommandError

MEASURED = ROOT / "benchmarks/compare/measured.toml"

CLIENTS, SECONDS, ROUNDS = 16, 2.0, 5
CUSTOMERS = PRODUCTS = 100
BATCH = 100
PLENTY = 1_000_000_000

Request = tuple[str, str, bytes | None]
"""Method, path and body."""

# Name -> description, both in the file's order.
FIGURES = {
    "app_cpu_ms": "CPU of the application for one POST /order, ms",
    "db_cpu_ms": "CPU of PostgreSQL for it, ms",
    "hot_app_cpu_ms": "the same where all orders are of one product, ms",
    "hot_db_cpu_ms": "the same, of PostgreSQL, ms",
    "batch_app_cpu_ms": f"CPU of the application for one order of a POST /orders with {BATCH}, ms",
    "batch_db_cpu_ms": "CPU of PostgreSQL for it, ms",
    "read_cpu_ms": "CPU of the application for one GET /order/{orderId}/status, ms",
    "read_db_cpu_ms": "CPU of PostgreSQL for it, ms",
    "commit_ms": "what a durable commit adds to a transaction: its fsync, median, ms",
    "round_trip_ms": "one statement and back, application and database on one machine, median, ms",
    "hot_row_lock_ms": "for how long an order has the lock of a product that all want, median, ms",
    "hot_row_lock_ms_min": "the same, of the best run, ms",
    "connection_limit": "connections that PostgreSQL takes",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU for one request in milliseconds: user and system, including background work."""

    app_ms: float
    database_ms: float


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the file and print its content."""
    parser = Parser(prog="make traditional", description=__doc__, example="make traditional MEASURE=1")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    return run(lambda: _measure(as_json=options.json))


def _measure(*, as_json: bool) -> int:
    # One process: its costs are the same with many, and it leaves a core to the clients.
    with running(workers=1) as server:
        figures = _figures(server, quiet=as_json)
    MEASURED.write_text(_toml(figures))
    if as_json:
        print(json.dumps(figures))
    else:
        console.print(MEASURED.read_text().strip(), markup=False, soft_wrap=True)
        console.print(f"Written to {MEASURED.relative_to(ROOT)}.")
    return 0


def _figures(server: Server, *, quiet: bool) -> dict[str, float]:
    order_id = _fill(server)
    kinds: dict[str, Callable[[int], Request]] = {
        "": lambda number: ("POST", "/order", _body(_order(number))),
        "hot_": lambda number: ("POST", "/order", _body(_order(number, "hot"))),
        "batch_": lambda number: ("POST", "/orders", _batch(number)),
        "read_": lambda _: ("GET", f"/order/{order_id}/status", None),
    }
    runs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for number in range(1, ROUNDS + 1):
        with _step(f"CPU times, {number} of {ROUNDS}", quiet=quiet):
            # In turns, so that other load on the machine affects all kinds alike.
            for kind, request in kinds.items():
                runs[kind].append(_cost(server, request))
    with _step("Latencies of the database", quiet=quiet):
        found = {**_probe(server), "connection_limit": database.MAX_CONNECTIONS}
    for kind, costs in runs.items():
        size = BATCH if kind == "batch_" else 1
        # Disturbances only add CPU time, by evicting caches.
        found["read_cpu_ms" if kind == "read_" else f"{kind}app_cpu_ms"] = min(c.app_ms for c in costs) / size
        found[f"{kind}db_cpu_ms"] = min(c.database_ms for c in costs) / size
    return {name: float(f"{found[name]:.3g}") for name in FIGURES}


def _cost(server: Server, request: Callable[[int], Request]) -> Cost:
    """The cost of a kind of request, sent for some seconds from all clients."""
    clients = [_Client(server) for _ in range(CLIENTS)]
    for number, client in enumerate(clients):
        client.send(*request(number))  # opens its connection before the clock starts
    app, postgres = server.cpu_seconds()
    end = time.perf_counter() + SECONDS
    threads = [threading.Thread(target=client.send_until, args=(end, request)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app_after, postgres_after = server.cpu_seconds()
    sent = sum(client.sent for client in clients)
    for client in clients:
        client.close()
    if errors := [client.error for client in clients if client.error]:
        raise CommandError(f"A request failed: {errors[0]}")
    return Cost(1000 * (app_after - app) / sent, 1000 * (postgres_after - postgres) / sent)


class _Client:
    """One connection, by the standard library, which leaves most CPU to the server."""

    def __init__(self, server: Server) -> None:
        address = urllib.parse.urlsplit(server.url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        self.sent, self.error = 0, ""

    def send(self, method: str, path: str, body: bytes | None) -> bytes:
        """Send one request, and return the body of its response.

        Raises:
            CommandError: it is refused.
        """
        self._connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise CommandError(f"{method} {path}: {response.status} {answer.decode(errors='replace')}")
        return answer

    def send_until(self, end: float, request: Callable[[int], Request]) -> None:
        """Send requests until then, each with a new number; stops at an error and stores it."""
        try:
            while time.perf_counter() < end:
                self.send(*request(id(self) + self.sent))
                self.sent += 1
        except (CommandError, OSError, http.client.HTTPException) as error:
            self.error = str(error) or type(error).__name__

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _fill(server: Server) -> str:
    """Create customers and products with ample balances, and place an order; return its id."""
    client = _Client(server)
    for number in range(CUSTOMERS):
        client.send("POST", "/account", _body({"customerId": f"customer-{number}", "balance": PLENTY}))
    for name in [*(f"product-{number}" for number in range(PRODUCTS)), "hot"]:
        client.send("POST", "/stock", _body({"productId": name, "balance": PLENTY}))
    order_id: str = json.loads(client.send("POST", "/order", _body(_order(0))))["orderId"]
    client.close()
    return order_id


def _batch(number: int) -> bytes:
    return _body({"orders": [_order(number + place) for place in range(BATCH)]})


def _order(number: int, product_id: str | None = None) -> dict[str, object]:
    product_id = product_id or f"product-{number % PRODUCTS}"
    items = [{"productId": product_id, "qty": 1, "unitPrice": 1.5}]
    return {"customerId": f"customer-{number * 7 % CUSTOMERS}", "items": items, "totalAmount": 1.5}


def _body(value: object) -> bytes:
    return json.dumps(value).encode()


def _probe(server: Server) -> dict[str, float]:
    done = subprocess.run(
        [PYTHON, "-P", "-m", "benchmarks.traditional.probe"],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers", ROOT))),
            "DATABASE_URL": server.database_url,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"The database can't be measured:\n{done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _toml(figures: dict[str, float]) -> str:
    """The file's text: each figure below its description."""
    load = os.getloadavg()[0]
    lines = [
        "# What the traditional design costs on one machine. `make traditional MEASURE=1` writes this file.",
        "# CPU is user and system time, of the run with the least of it; background processes are included.",
        "# Every commit is on disk before it is answered (fsync, synchronous_commit).",
        f'date = "{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"',
        f"cores = {os.cpu_count()}",
        f'processor = "{_processor()}"',
        f"load_average = {load:.1f} # of the last minute, this measurement's own load included",
        "",
    ]
    for name, value in figures.items():
        lines += [f"# {FIGURES[name]}", f"{name} = {value}"]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    with Path("/proc/cpuinfo").open() as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _step(what: str, *, quiet: bool) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if quiet else step(what)


if __name__ == "__main__":
    sys.exit(main())
