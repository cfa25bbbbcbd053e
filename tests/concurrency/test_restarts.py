"""The engine is stopped or killed in the middle of many orders, and restarted.

On the deployed stack, over HTTP, with clients that retry an order until it is accepted.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx
import pytest

from local import stack
from local.engine import ROOT, Engine, EngineError, find, free_port, fresh, recovered, start
from local.engine_snapshots import read_header, snapshot_of
from tests.conftest import Say
from tests.deployed.shop import OPEN, StackClient, body_of, order_body
from tests.support.profile import AMOUNTS, FULL

ORDERS = AMOUNTS.orders_at_stop
CLIENTS = 8
UNITS = ORDERS * 3 // 4  # fewer than are ordered: some orders must be rejected
BEFORE = ORDERS * 3 // 10  # orders that are accepted before the engine stops
TIMEOUT = 300.0

pytestmark = pytest.mark.proof


class Kept:
    """An engine that keeps its data, with the stack on it; a new process after each restart."""

    def __init__(self, engine: Engine, shop: StackClient) -> None:
        self.engine = engine
        self.shop = shop

    def start(self, port: int | None = None) -> None:
        self.engine = start(port or self.engine.port, self.engine.home, tied=True)

    def ops(self, *arguments: str) -> tuple[int, str]:
        """Run an operator's command; returns its exit code and output."""
        finished = subprocess.run(
            [sys.executable, "-m", "order_capture_ops", *arguments, "--stack", stack.NAME, "--json"],
            cwd=ROOT,
            env=self.engine.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return finished.returncode, finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with fresh(keeps_data=True) as engine:
        kept = Kept(
            engine, StackClient(stack.deploy(engine, tmp_path_factory.mktemp("deploy") / "deploy.log"))
        )
        yield kept
        if running := find(engine.home):
            running.kill()


def _wait_for_snapshot(home: Path) -> None:
    """Wait until the engine has saved everything so far."""
    done, deadline = time.time(), time.monotonic() + 30
    while (header := read_header(home / "state")) is None or header.saved_at < done:
        assert time.monotonic() < deadline, "never saved"
        time.sleep(0.2)


class Clients:
    """Place orders at the same time, even while the engine restarts."""

    def __init__(self, shop: StackClient, home: Path) -> None:
        self._shop = shop
        self._customers = [shop.new_customer("1000.00") for _ in range(10)]
        self.pen = shop.new_product(UNITS)
        _wait_for_snapshot(home)  # a crash may lose orders, but not end the clients
        self.accepted: list[str] = []
        self._enough = threading.Event()
        self._given_up = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._placing = [self._pool.submit(self._insist, number) for number in range(ORDERS)]

    def _insist(self, number: int) -> None:
        """Retry an order until it is accepted, as a client with a key may."""
        body = order_body(self._customers[number % 10], {self.pen: 1}, "1.00")
        key = str(uuid.uuid4())
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                answer = self._shop.post("/order", body, Idempotency_Key=key)
                if answer.status_code == 202:
                    self.accepted.append(body_of(answer)["orderId"])
                    if len(self.accepted) >= BEFORE:
                        self._enough.set()
                    return
                # Its customer may be lost in the crash, too.
                assert answer.status_code in (409, 429) or answer.status_code >= 500, answer.text
            except httpx.TransportError:
                pass  # sent, perhaps; the key makes it the same order
            assert time.monotonic() < deadline, "never accepted"
            if self._given_up.wait(random.uniform(0, 1)):
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.set()
        self._pool.shutdown(cancel_futures=True)

    def wait_for_some(self) -> None:
        assert self._enough.wait(TIMEOUT)

    def wait_for_all(self) -> None:
        for each in self._placing:
            each.result(TIMEOUT)


@pytest.fixture
def clients(kept: Kept) -> Iterator[Clients]:
    with Clients(kept.shop, kept.engine.home) as clients:
        yield clients


def ended(shop: StackClient, placed: list[str]) -> dict[str, str]:
    """The terminal status of each order (UNKNOWN if it is lost), or its last status if the time is up."""
    deadline = time.monotonic() + TIMEOUT
    statuses = dict.fromkeys(placed, "PENDING")
    while time.monotonic() < deadline and OPEN & set(statuses.values()):
        for order_id in [each for each, status in statuses.items() if status in OPEN]:
            answer = shop.get(f"/order/{order_id}")
            if answer.status_code in (200, 404):
                statuses[order_id] = body_of(answer)["status"] if answer.status_code == 200 else "UNKNOWN"
        time.sleep(0.5)
    return statuses


def assert_the_books_add_up(kept: Kept, outcomes: Counter[str], seconds: int = 300) -> None:
    code, output = kept.ops("audit", "--grace-period", str(seconds))
    assert code == 0, output
    counted = json.loads(output)["orders"]
    assert all(counted.get(status, 0) >= number for status, number in outcomes.items()), (counted, outcomes)
    code, output = kept.ops("stuck")
    assert json.loads(output)["open"] == []


@pytest.mark.timeout(900)
def test_a_stop_loses_nothing(kept: Kept, clients: Clients, say: Say) -> None:
    # given
    clients.wait_for_some()
    # when
    began = time.monotonic()
    kept.engine.stop()
    stopped = time.monotonic()
    note = recovered(kept.engine.home)
    kept.start()
    started = time.monotonic()
    clients.wait_for_all()
    # then
    outcomes = Counter(ended(kept.shop, clients.accepted).values())
    say(
        f"{ORDERS} orders (of {FULL.orders_at_stop}): stopped in {stopped - began:.1f} s, "
        f"started in {started - stopped:.1f} s; {dict(outcomes)}"
    )
    assert note is not None
    assert "lost" not in note
    assert outcomes == {"SHIPPED": UNITS, "REJECTED": ORDERS - UNITS}
    assert_the_books_add_up(kept, outcomes)
    assert kept.shop.units(clients.pen).settled == UNITS


@pytest.mark.timeout(900)
def test_a_crash_loses_what_the_engine_reports_and_nothing_else(
    kept: Kept, clients: Clients, say: Say
) -> None:
    # given
    clients.wait_for_some()
    # when
    kept.engine.kill()
    before = list(clients.accepted)
    note = recovered(kept.engine.home)
    kept.start()
    clients.wait_for_all()
    # then
    statuses = ended(kept.shop, clients.accepted)
    lost = [each for each, status in statuses.items() if status == "UNKNOWN"]
    outcomes = Counter(status for status in statuses.values() if status != "UNKNOWN")
    say(
        f"{note}\n{len(before)} orders were accepted before that, {len(lost)} of them are unknown now; "
        f"the other {ORDERS - len(lost)}: {dict(outcomes)}; "
        f"the event loop was held up for {max(kept.engine.status()['pauses']) * 1000:.0f} ms at most"
    )
    assert note is not None
    seconds = re.search(r"last (\d+) s", note)
    assert not lost or (seconds and int(seconds[1]) < 30)
    assert set(lost) <= set(before), "orders accepted after the restart are kept"
    assert not OPEN & outcomes.keys()
    assert outcomes["SHIPPED"] == min(UNITS, ORDERS - len(lost))
    assert_the_books_add_up(kept, outcomes)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_restart_on_another_port_changes_only_the_port(kept: Kept) -> None:
    # given
    alice, pen = kept.shop.new_customer("10.00"), kept.shop.new_product(5)
    order = kept.shop.ended(kept.shop.place(alice, {pen: 1}, "1.00"))
    token = kept.shop.bearer()
    before, port = dict(kept.shop.outputs), kept.engine.port
    # when
    kept.engine.stop()
    kept.start(free_port())
    after = stack.describe(kept.engine)
    # then
    assert after == {
        name: value.replace(f":{port}", f":{kept.engine.port}") for name, value in before.items()
    }
    kept.shop = StackClient(after)
    assert body_of(kept.shop.get(f"/order/{order['orderId']}", Authorization=token)) == order
    again = kept.shop.ended(kept.shop.place(alice, {pen: 1}, "1.00"))
    assert again["status"] == "SHIPPED"
    assert kept.shop.units(pen).settled == 2


@pytest.mark.full
@pytest.mark.timeout(120)
def test_unusable_data_is_reported_in_one_sentence(kept: Kept) -> None:
    # given
    kept.engine.stop()
    snapshot = snapshot_of(kept.engine.home / "state")
    whole = snapshot.with_suffix(".whole")
    shutil.copy(snapshot, whole)
    header, _, content = snapshot.read_bytes().partition(b"\n")
    other = json.dumps(json.loads(header) | {"engine": "0.0.1"}).encode()
    try:
        for damaged, reason in (
            (header + b"\n" + content[:-1], "it is damaged"),
            (other + b"\n" + content, "release 0.0.1 of the engine"),
        ):
            snapshot.write_bytes(damaged)
            # when, then
            with pytest.raises(EngineError, match=reason) as refused:
                kept.start()
            assert "FRESH=1" in str(refused.value)
            assert "Traceback" not in str(refused.value)
    finally:
        whole.replace(snapshot)
    kept.start()
