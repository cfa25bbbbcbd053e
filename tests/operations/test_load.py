"""`make load` as a whole, against a server with correct books, and against some with false ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import psutil
import pytest

from benchmarks.load import __main__ as command
from benchmarks.load.generator import PYTHON
from local.engine import ROOT
from tests.support.absent import absent

Body = dict[str, Any]
NOW = "2026-11-29T10:00:00.000Z"


class Shop(ThreadingHTTPServer):
    """Decides each order at once. `lie` is its fault."""

    def __init__(self, lie: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lie = lie
        self.lock = Lock()
        self.balances: dict[str, Body] = {}
        self.orders: dict[str, Body] = {}
        self.by_key: dict[str, Body] = {}
        self.paths: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def place(self, body: Body, key: str) -> tuple[int, Body]:
        if self.lie == "unavailable" and key not in self.by_key and len(self.by_key) % 3 == 0:
            self.by_key[key] = {}
            return 503, {}
        if self.lie != "doubles" and self.by_key.get(key):
            return 201, self.by_key[key]
        orders = [self.decide(each) for each in body.get("orders", [body])]
        self.by_key[key] = {"orders": orders} if "orders" in body else orders[0]
        return 201, self.by_key[key]

    def decide(self, body: Body) -> Body:
        wanted = {f"/stock/{item['productId']}": item["qty"] for item in body["items"]}
        wanted[f"/account/{body['customerId']}"] = body["totalAmount"]
        fits = all(self.balances[path]["balance"] >= amount for path, amount in wanted.items())
        if fits or self.lie == "oversells":
            for path, amount in wanted.items():
                self.balances[path]["balance"] -= amount
                self.balances[path]["settled"] += amount
        status = "SHIPPED" if fits or self.lie == "oversells" else "REJECTED"
        order = {"orderId": str(uuid.uuid4()), "status": status, "createTime": NOW, "updateTime": NOW, **body}
        if self.lie != "loses" or len(self.orders) % 5:
            self.orders[order["orderId"]] = order
        return order


class _Handler(BaseHTTPRequestHandler):
    server: Shop
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body: Body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.paths.add(self.path)
            if self.path.startswith("/order"):
                self._answer(*self.server.place(body, self.headers["Idempotency-Key"]))
            else:
                entity = body.get("customerId") or body["productId"]
                balance = {"balance": body["balance"], "held": 0, "settled": 0}
                self.server.balances[f"{self.path}/{entity}"] = balance
                self._answer(200, balance)

    def do_GET(self) -> None:
        kind, _, rest = self.path[1:].partition("/")
        with self.server.lock:
            found = (
                self.server.orders.get(rest.partition("/")[0])
                if kind == "order"
                else self.server.balances.get(self.path)
            )
            self._answer(200 if found else 404, found or {})

    def _answer(self, status: int, body: Body) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    if not PYTHON.exists():
        absent("Locust is not installed: `make .local/venv/load/.ready` installs it")
    with Shop(getattr(request, "param", "")) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def arguments(shop: Shop, folder: Path, *more: str) -> list[str]:
    given = (f"--url={shop.url}", "--users=4", "--seconds=2", "--patience=1", "--json")
    return [*given, f"--html={folder / 'report.html'}", *more]


def loaded(shop: Shop, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, Body]:
    code = command.main(arguments(shop, folder, *more))
    found: Body = json.loads(capsys.readouterr().out)
    return code, found


def test_right_books_pass(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = loaded(shop, tmp_path, capsys)

    assert (code, found["faults"]) == (0, [])
    assert found["accepted"] == len(shop.orders) > 10
    assert found["statuses"]["REJECTED"] > 0, "some products and accounts are scarce"
    assert found["replays"] > 0
    assert shop.paths == {"/account", "/stock", "/order", "/orders"}


@pytest.mark.parametrize(
    ("shop", "kind"),
    [("oversells", "oversold"), ("loses", "lost"), ("doubles", "doubled")],
    indirect=["shop"],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_server_that_lies_is_found_out(
    shop: Shop, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = loaded(shop, tmp_path, capsys)

    assert code == 1
    assert found[kind] > 0


@pytest.mark.parametrize("shop", ["unavailable"], indirect=True)
def test_a_request_whose_effect_is_unknown_is_sent_again_with_its_key(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = loaded(shop, tmp_path, capsys, "--mix=spread")

    assert (code, found["faults"]) == (0, [])
    assert found["asked_again"] > 0
    assert (found["unknown"], found["accepted"]) == (0, len(shop.orders))


def test_the_number_of_orders_is_bounded(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = loaded(shop, tmp_path, capsys, "--orders=25", "--seconds=60", "--mix=spread batches")

    assert 15 < found["accepted"] <= 25


def start(shop: Shop, folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """The command, and its Locust once that sends orders."""
    running = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", *arguments(shop, folder, "--seconds=100")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "layers"), str(ROOT)))},
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not shop.orders:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    locust = next(each for each in psutil.Process(running.pid).children() if "locust" in each.cmdline())
    return running, locust


def test_ctrl_c_ends_the_load_and_its_orders_are_still_audited(shop: Shop, tmp_path: Path) -> None:
    running, locust = start(shop, tmp_path)

    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=100)

    found = json.loads(output)
    assert found["interrupted"]
    assert (running.returncode, found["faults"]) == (0, [])
    assert found["accepted"] == len(shop.orders)
    assert not locust.is_running()


def test_locust_ends_with_a_command_that_is_killed(shop: Shop, tmp_path: Path) -> None:
    running, locust = start(shop, tmp_path)

    running.kill()
    running.wait()

    locust.wait(timeout=30)
