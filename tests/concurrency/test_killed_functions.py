"""Many clients, one product, and functions that are killed while they run.

On the deployed stack, over HTTP. The engine runs the functions as child processes, which `kill -9` can end
between any two writes, or in the middle of a response.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import httpx
import psutil
import pytest
from mypy_boto3_lambda import LambdaClient

from local import stack
from local.engine import ROOT, Engine, fresh
from tests.conftest import Say
from tests.deployed.shop import OPEN, Balances, StackClient, at_once, body_of, order_body
from tests.support.profile import AMOUNTS, FULL

CLIENTS = AMOUNTS.clients_at_kill
UNITS = CLIENTS * 6 // 10  # fewer than are ordered: some orders must be rejected

KILLS = CLIENTS * 3 // 10
KILL_EVERY = 0.3  # seconds; a forked process restarts in less, and twenty orders take five
REST = 240.0  # seconds in which every order must have ended, once all are accepted

# A hundred requests at once would be a hundred processes. Requests beyond these get a 429.
API_PROCESSES = 12

# On AWS, and in the template, a killed function's messages return after a minute. Here they return after
# three seconds, to save time.
VISIBILITY_TIMEOUT = "3"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with fresh(auth=True) as running:
        yield running


@pytest.fixture(scope="module")
def shop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> StackClient:
    shop = StackClient(stack.deploy(engine, tmp_path_factory.mktemp("deploy") / "deploy.log"))
    for name, url in shop.outputs.items():
        if name.endswith("QueueUrl"):
            shop.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": VISIBILITY_TIMEOUT})
    functions: LambdaClient = shop.aws.client("lambda", endpoint_url=shop.endpoint)
    functions.put_function_concurrency(
        FunctionName=shop.outputs["OrderApiFunctionName"], ReservedConcurrentExecutions=API_PROCESSES
    )
    return shop


class Killer(threading.Thread):
    """Kills processes of random functions, each function equally often.

    Not each process, since the API has one per open request, and the others have one or two.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(daemon=True)
        self._engine = psutil.Process(engine.pid)
        self._ended = threading.Event()
        self.killed: Counter[str] = Counter()

    def run(self) -> None:
        while self.killed.total() < KILLS and not self._ended.wait(KILL_EVERY):
            if (process := self._chosen()) and (name := function_of(process)):
                process.kill()
                self.killed[name] += 1

    def _chosen(self) -> psutil.Process | None:
        by_function: dict[str, list[psutil.Process]] = {}
        for process in self._engine.children(recursive=True):  # a server forks them
            if name := function_of(process):
                by_function.setdefault(name, []).append(process)
        for name in random.sample(sorted(by_function), len(by_function)):
            for process in random.sample(by_function[name], len(by_function[name])):
                if has_begun(process):
                    return process
        return None

    def end(self) -> None:
        self._ended.set()
        self.join()


def function_of(process: psutil.Process) -> str | None:
    """The function that a process runs, if it runs one."""
    try:
        place = process.cwd()  # of the function's code; the command is the fork server's
    except psutil.Error:
        return None
    _, found, rest = place.partition("ministack-lambda-")
    return rest.partition("Function")[0].removeprefix(f"{stack.NAME}-") if found else None


def has_begun(process: psutil.Process) -> bool:
    """Whether a function's process has made a call to AWS.

    Killing a starting process would prove nothing, and makes the engine discard all other processes
    of its function, including starting ones: with many of them it never recovers.
    """
    try:
        return bool(process.net_connections("tcp"))
    except psutil.Error:
        return False


def insist(shop: StackClient, body: object) -> str:
    """Retry an order until it is accepted, as a client with a key may; returns its id."""
    key = str(uuid.uuid4())
    deadline = time.monotonic() + REST
    backoff = 0.5
    while True:
        try:
            answer = shop.post("/order", body, Idempotency_Key=key)
            if answer.status_code == 202:
                return str(body_of(answer)["orderId"])
            assert answer.status_code in (409, 429) or answer.status_code >= 500, answer.text
        except httpx.TransportError:
            pass  # sent, perhaps; the key makes it the same order
        assert time.monotonic() < deadline, "never accepted"
        time.sleep(random.uniform(0, backoff))
        backoff = min(2 * backoff, 8.0)


def ops(engine: Engine, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An operator's command."""
    return subprocess.run(
        [sys.executable, "-m", "order_capture_ops", *arguments, "--stack", stack.NAME, "--json"],
        cwd=ROOT,
        env=engine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def all_over(shop: StackClient, placed: list[str]) -> dict[str, str]:
    """The orders' statuses after all have ended, or at the timeout, for an assert."""
    deadline = time.monotonic() + REST
    statuses = dict.fromkeys(placed, "PENDING")
    while time.monotonic() < deadline:
        for order_id in [each for each, status in statuses.items() if status in OPEN]:
            answer = shop.get(f"/order/{order_id}")
            if answer.status_code == 200:  # the function that reads it may be killed as well
                statuses[order_id] = body_of(answer)["status"]
        if not OPEN & set(statuses.values()):
            break
        time.sleep(0.5)
    return statuses


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_every_accepted_order_ends_once_and_the_books_add_up(
    engine: Engine, shop: StackClient, say: Say
) -> None:
    # given
    customers = [shop.new_customer("100.00") for _ in range(10)]
    pen = shop.new_product(UNITS)
    killer = Killer(engine)

    # when
    began = time.monotonic()
    killer.start()
    try:
        placed = at_once(
            CLIENTS,
            lambda number: insist(shop, order_body(customers[number % 10], {pen: 1}, "1.00")),
        )
        accepted = time.monotonic() - began
        statuses = all_over(shop, placed)
        ended = time.monotonic() - began
    finally:
        killer.end()

    # then
    outcomes = Counter(statuses.values())
    killed = ", ".join(f"{number} {name}" for name, number in sorted(killer.killed.items()))
    say(
        f"{CLIENTS} clients (of {FULL.clients_at_kill}) placed an order each in {accepted:.0f} s, "
        f"all over after {ended:.0f} s: "
        f"{dict(outcomes)}; function processes killed meanwhile: {killed}"
    )
    assert killer.killed.total() > KILLS / 3
    assert outcomes == {"SHIPPED": UNITS, "REJECTED": CLIENTS - UNITS}
    audit = ops(engine, "audit", "--grace-period", "120")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert json.loads(audit.stdout)["orders"] == dict(outcomes)
    stuck = ops(engine, "stuck")
    assert json.loads(stuck.stdout)["open"] == [], stuck.stderr
    books = shop.units(pen)
    assert books == Balances.of(0, settled=UNITS)
    spent = [shop.money(customer) for customer in customers]
    assert sum(each.settled for each in spent) == Decimal(UNITS)
    assert all(each.held == 0 and each.total == Decimal("100.00") for each in spent)
