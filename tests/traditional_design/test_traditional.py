"""The traditional design keeps the rules of the serverless one: same responses, no overselling.

One server for all tests, on a temporary PostgreSQL. Each test has its own customers and products.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.traditional import credit, database, server
from benchmarks.traditional.server import Server
from local.engine import ROOT
from order_capture.adapters.serializers import decimal_json
from order_capture.adapters.serializers.check_results import check_result_values
from order_capture.domain.errors import TransientError
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance, decide_holds
from order_capture.domain.order import CheckType, OrderDetails, OrderLine, Outcome
from order_capture_ops.errors import CommandError
from tests.support.absent import absent
from tests.support.factories import api_event

_names = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    try:
        server.installed()
    except CommandError as error:
        absent(str(error))


@pytest.fixture(scope="module")
def design(_installed: None) -> Iterator[Server]:
    """Two processes, so that nothing can depend on the memory of one."""
    with server.running(workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def client(design: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=design.url, timeout=30) as opened:
        yield opened


@dataclass(frozen=True)
class Starter:
    """A process that has started its own server, with a slow credit service."""

    process: subprocess.Popen[str]
    server: Server


CREDIT_DELAY_MS = 100
STARTER = f"""
import dataclasses, json, time
from benchmarks.traditional.server import running
with running(workers=1, credit_delay_ms={CREDIT_DELAY_MS}) as server:
    print(json.dumps(dataclasses.asdict(server)), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def starter(_installed: None) -> Iterator[Starter]:
    path = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers", ROOT)))}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=ROOT,
        env={**os.environ, **path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield Starter(process, Server(**json.loads(process.stdout.readline())))
    process.kill()
    process.wait()


class Shop:
    """A customer and products of one test only."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.customer = f"customer-{next(_names)}"

    def credit(self, amount: float) -> None:
        self.post("/account", {"customerId": self.customer, "balance": amount})

    def product(self, units: int, price: float | None = None) -> str:
        name = f"product-{next(_names)}"
        self.post(
            "/stock", {"productId": name, "balance": units, **({} if price is None else {"price": price})}
        )
        return name

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        return self.client.post(path, json=body, headers={} if key is None else {"Idempotency-Key": key})

    def order(self, *lines: tuple[str, int], total: float = 1, price: float | None = None) -> dict[str, Any]:
        prices = {} if price is None else {"unitPrice": price}
        items = [{"productId": product, "qty": qty, **prices} for product, qty in lines]
        return {"customerId": self.customer, "items": items, "totalAmount": total}

    def stock(self, product: str) -> tuple[float, float, float]:
        found = self.client.get(f"/stock/{product}").json()
        return found["balance"], found["held"], found["settled"]

    def account(self) -> tuple[float, float, float]:
        found = self.client.get(f"/account/{self.customer}").json()
        return found["balance"], found["held"], found["settled"]


@pytest.fixture
def shop(client: httpx.Client) -> Shop:
    return Shop(client)


def all_at_once(design: Server, requests: Sequence[Mapping[str, Any]]) -> list[httpx.Response]:
    """The responses to concurrent requests, each on its own connection."""

    async def send() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(requests))
        async with httpx.AsyncClient(base_url=design.url, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(client.request("POST", **request) for request in requests))

    return asyncio.run(send())


def statuses(answers: Sequence[httpx.Response]) -> Counter[str]:
    assert {answer.status_code for answer in answers} == {201}
    return Counter(answer.json()["status"] for answer in answers)


# -------------------------------------------------------------------------------------------- one order
def test_an_order_is_shipped_by_the_time_it_is_answered(shop: Shop) -> None:
    shop.credit(100)
    pen = shop.product(5, price=9.5)

    answer = shop.post("/order", shop.order((pen, 2), total=19, price=9.5))

    order = answer.json()
    assert (answer.status_code, order["status"]) == (201, "SHIPPED")
    assert [line.partition(" ")[2] for line in order["logs"]] == [
        "order received",
        "balance HELD 19.00",
        "stock HELD 2",
        "confirmed",
        "shipped",
    ]
    assert answer.headers["Location"] == f"order/{order['orderId']}"
    assert shop.client.get(f"/order/{order['orderId']}").json() == order
    status = shop.client.get(f"/order/{order['orderId']}/status").json()
    assert status == {name: order[name] for name in ("orderId", "status", "logs", "checks")}
    assert shop.stock(pen) == (3, 0, 2)
    assert shop.account() == (81, 0, 19)


UNITS = {"few": (3, None), "priced": (10, "9.50"), "scarce": (1, "2.00")}
REFUSED: dict[str, tuple[str | None, list[tuple[str, int, str | None]], str]] = {
    "too little money": ("10.00", [("few", 1, None)], "10.01"),
    "too little stock": ("10.00", [("few", 4, None)], "1.00"),
    "both": ("10.00", [("few", 4, None)], "11.00"),
    "no such customer": (None, [("few", 1, None)], "1.00"),
    "no such product": ("10.00", [("nothing", 2, None)], "1.00"),
    "two lines of one product": ("10.00", [("few", 2, None), ("few", 2, None)], "1.00"),
    "a wrong price": ("100.00", [("priced", 1, "9.00")], "9.00"),
    "no price": ("100.00", [("priced", 1, None)], "9.00"),
    "a wrong price after a short product": ("100.00", [("few", 4, "1.00"), ("priced", 1, "9.00")], "13.00"),
    "two short products": ("100.00", [("scarce", 2, "2.00"), ("few", 4, "1.00")], "8.00"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_reasons_and_figures_that_the_domain_gives(case: str, shop: Shop) -> None:
    funds, lines, total = REFUSED[case]
    products: dict[str, Balance | None] = {}
    for name, (units, price) in UNITS.items():
        product = f"{shop.customer}-{name}"
        products[product] = Balance(Decimal(units), price=Decimal(price) if price else None)
        shop.post(
            "/stock", {"productId": product, "balance": units, "price": float(price) if price else None}
        )
    products[f"{shop.customer}-nothing"] = None
    if funds is not None:
        shop.credit(float(funds))
    order_lines = [(f"{shop.customer}-{name}", qty, price) for name, qty, price in lines]
    details = OrderDetails(
        "order",
        shop.customer,
        tuple(OrderLine(name, qty, Decimal(price) if price else None) for name, qty, price in order_lines),
        Decimal(total),
    )
    accounts = {shop.customer: None if funds is None else Balance(Decimal(funds))}
    expected = {
        CheckType.BALANCE: decide_holds(ACCOUNTS, [details], accounts)["order"],
        CheckType.STOCK: decide_holds(STOCK, [details], products)["order"],
    }

    answer = shop.post(
        "/order",
        {
            "customerId": shop.customer,
            "items": [
                {"productId": name, "qty": qty, **({"unitPrice": float(price)} if price else {})}
                for name, qty, price in order_lines
            ],
            "totalAmount": float(total),
        },
    )

    order = decimal_json.loads(answer.content)
    assert order["status"] == "REJECTED"
    declined = {check: result for check, result in expected.items() if result.outcome is Outcome.DECLINED}
    assert declined, "the case is one of a refusal"
    for check in CheckType:
        found = order["checks"][check.lower()]
        assert found == (check_result_values(declined[check]) if check in declined else None)
    assert shop.client.get(f"/order/{order['orderId']}").content == answer.content
    for product, balance in products.items():
        if balance is not None:
            assert shop.stock(product) == (int(balance.balance), 0, 0)


def test_an_unknown_order_customer_or_product_is_not_found(client: httpx.Client) -> None:
    for path in (
        "/order/order-1",
        f"/order/{'0' * 8}-0000-4000-8000-{'0' * 12}",
        "/account/nobody",
        "/stock/nothing",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:order-capture:problem:not-found")


# ----------------------------------------------------------------------------- the same answers as ours
GOOD = {"customerId": "alice", "items": [{"productId": "pen", "qty": 1}], "totalAmount": 1}
BAD_ORDERS: list[object] = [
    "",
    "{",
    "[]",
    {},
    '{"customerId":"a","customerId":"b"}',
    {**GOOD, "customerId": "a b"},
    {**GOOD, "customerId": 5},
    {**GOOD, "items": []},
    {**GOOD, "items": [GOOD["items"]] * 51},
    {**GOOD, "items": [{"productId": "pen"}, {"productId": "..", "qty": 1.5}]},
    {**GOOD, "items": [{"productId": "pen", "qty": 100_001}]},
    {**GOOD, "items": [{"productId": "pen", "qty": 1, "unitPrice": 2}]},
    {**GOOD, "items": [{"productId": "pen", "qty": 1, "unitPrice": 1}, {"productId": "cup", "qty": 1}]},
    {**GOOD, "totalAmount": -1},
    {**GOOD, "totalAmount": 0.001},
    {**GOOD, "totalAmount": "1"},
    '{"customerId":"a","items":[{"productId":"pen","qty":1e9999999}],"totalAmount":NaN}',
    {**GOOD, "callbackUrl": "http://shop.example.com/"},
    {**GOOD, "giftNote": "for you"},
    {**GOOD, "customerId": "x" * 40_000},
]
BAD_REQUESTS: list[tuple[str, str, object]] = [
    *(("POST", "/order", body) for body in BAD_ORDERS),
    ("POST", "/orders", {"orders": []}),
    ("POST", "/orders", {"orders": [GOOD] * 101}),
    ("POST", "/orders", {"orders": [{}, GOOD, 5], "errorPolicy": "REJECT_ALL"}),
    ("POST", "/account", {"customerId": "alice"}),
    ("POST", "/account", {"customerId": "alice", "balance": 1, "adjust": 1}),
    ("POST", "/account", {"customerId": "alice", "balance": -1}),
    ("POST", "/stock", {"productId": "pen", "balance": 0.5}),
    ("POST", "/stock", {"productId": "pen", "adjust": None}),
    ("POST", "/stock", {"productId": "pen", "balance": 1, "price": 0.001}),
]
HANDLERS = {"/order": "order_api", "/orders": "order_api", "/account": "account_api", "/stock": "stock_api"}
BAD_HEADERS = [
    {"Content-Type": "text/plain"},
    {"Idempotency-Key": "x" * 256},
    {"X-Correlation-Id": "x" * 129},
]


@pytest.mark.parametrize(("method", "path", "body"), BAD_REQUESTS)
def test_a_bad_request_is_refused_in_the_same_words(
    method: str, path: str, body: object, client: httpx.Client
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)

    answer = client.request(method, path, content=text)

    assert answer.status_code == 400
    assert refusal(answer.status_code, answer.text) == of_our_handler(method, path, text, {})


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=lambda headers: next(iter(headers)))
def test_a_bad_header_is_refused_in_the_same_words(headers: dict[str, str], client: httpx.Client) -> None:
    answer = client.post("/order", content=json.dumps(GOOD), headers=headers)

    assert answer.status_code in (400, 415)
    assert refusal(answer.status_code, answer.text) == of_our_handler(
        "POST", "/order", json.dumps(GOOD), headers
    )


def test_a_bad_query_is_refused_and_so_are_other_paths_and_methods(client: httpx.Client) -> None:
    assert client.post("/order?dryRun=1", json=GOOD).json()["errors"][0]["field"] == "dryRun"
    assert client.get("/order/order-1?wait=x").json()["errors"][0]["field"] == "wait"
    assert client.get("/nowhere").status_code == 404
    answer = client.delete("/order")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.headers["Content-Type"] == "application/problem+json"


def of_our_handler(method: str, path: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
    handler = importlib.import_module(f"functions.{HANDLERS[path]}.app").handler
    answer = handler(api_event(method, path, body, headers), None)
    return refusal(answer["statusCode"], answer["body"])


def refusal(status: int, text: str) -> dict[str, Any]:
    """A problem without the id of its request."""
    problem: dict[str, Any] = json.loads(text)
    del problem["requestId"]
    assert problem["status"] == status
    return problem


# ------------------------------------------------------------------------------------------ idempotency
def test_a_key_has_one_effect_and_one_answer(shop: Shop) -> None:
    shop.credit(100)
    pen, key = shop.product(5), f"key-{shop.customer}"
    first = shop.post("/order", shop.order((pen, 2)), key)

    again = shop.post("/order", shop.order((pen, 2)), key)
    other = shop.post("/order", shop.order((pen, 3)), key)

    assert (again.status_code, again.content) == (201, first.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert (other.status_code, other.json()["type"]) == (
        422,
        "urn:order-capture:problem:idempotency-key-reused",
    )
    assert shop.stock(pen) == (3, 0, 2)


def test_a_key_that_comes_many_times_at_once_is_one_order(shop: Shop, design: Server) -> None:
    shop.credit(100)
    pen, key = shop.product(100), f"key-{shop.customer}"
    request = {"url": "/order", "json": shop.order((pen, 1)), "headers": {"Idempotency-Key": key}}

    answers = all_at_once(design, [request] * 20)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["orderId"] for answer in answers if answer.status_code == 201}) == 1
    assert {answer.json()["type"] for answer in answers if answer.status_code == 409} <= {
        "urn:order-capture:problem:request-running"
    }
    assert shop.stock(pen) == (99, 0, 1)


def test_a_key_whose_request_is_running_is_answered_with_409(shop: Shop, design: Server) -> None:
    """An adjustment waits for this test's lock; meanwhile its key is used again."""
    shop.credit(100)
    key = {"Idempotency-Key": f"key-{shop.customer}"}
    body = {"customerId": shop.customer, "adjust": 5}
    with locked_account(design, shop.customer):
        with httpx.Client(base_url=design.url) as other, pytest.raises(httpx.ReadTimeout):
            other.post("/account", json=body, headers=key, timeout=0.5)
        running = shop.client.post("/account", json=body, headers=key)
    finished = until_answered(lambda: shop.client.post("/account", json=body, headers=key))

    assert (running.status_code, running.json()["type"]) == (409, "urn:order-capture:problem:request-running")
    assert running.headers["Retry-After"] == "1"
    assert finished.status_code == 200
    assert shop.account() == (105, 0, 0)


def test_a_batch_with_a_key_has_one_effect_and_one_answer(shop: Shop) -> None:
    shop.credit(100)
    pen, key = shop.product(5), f"key-{shop.customer}"
    batch = {"orders": [shop.order((pen, 2)), {}, shop.order((pen, 4))]}
    first = shop.post("/orders", batch, key)

    again = shop.post("/orders", batch, key)
    other = shop.post("/orders", {"orders": batch["orders"][:1]}, key)

    entries = first.json()["orders"]
    assert [entry.get("status") for entry in entries] == ["SHIPPED", None, "REJECTED"]
    assert [error["field"] for error in entries[1]["problem"]["errors"]] == [
        "orders[1].customerId",
        "orders[1].items",
        "orders[1].totalAmount",
    ]
    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert other.status_code == 422
    assert shop.stock(pen) == (3, 0, 2)


def test_an_adjustment_with_a_key_is_made_once(shop: Shop) -> None:
    shop.credit(100)
    key, body = f"key-{shop.customer}", {"customerId": shop.customer, "adjust": -30}
    first = shop.post("/account", body, key)

    again = shop.post("/account", body, key)

    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert shop.post("/account", {**body, "adjust": -31}, key).status_code == 422
    assert shop.account() == (70, 0, 0)


# --------------------------------------------------------------------------------------------- balances
def test_a_balance_is_adjusted_within_its_bounds_and_a_price_alone(shop: Shop) -> None:
    unknown = shop.post("/account", {"customerId": shop.customer, "adjust": 5})
    pen = shop.product(5, price=9.5)
    below = shop.post("/stock", {"productId": pen, "adjust": -6})
    more = shop.post("/stock", {"productId": pen, "adjust": 3, "price": None})

    assert unknown.status_code == 404
    assert (below.status_code, below.json()["type"]) == (
        409,
        "urn:order-capture:problem:balance-out-of-range",
    )
    assert "The balance is 5" in below.json()["detail"]
    assert "price" not in more.json()
    assert shop.stock(pen) == (8, 0, 0)
    assert shop.post("/stock", {"productId": pen, "price": 2}).json()["price"] == 2


def test_concurrent_adjustments_all_count(shop: Shop, design: Server) -> None:
    pen = shop.product(0)
    request = {"url": "/stock", "json": {"productId": pen, "adjust": 1}}

    answers = all_at_once(design, [request] * 20)

    assert sorted(answer.json()["balance"] for answer in answers) == list(range(1, 21))


# ------------------------------------------------------------------------------------------ concurrency
def test_the_last_unit_is_sold_once(shop: Shop, design: Server) -> None:
    shop.credit(1000)
    pen = shop.product(1)

    answers = all_at_once(design, [{"url": "/order", "json": shop.order((pen, 1))}] * 20)

    assert statuses(answers) == {"SHIPPED": 1, "REJECTED": 19}
    refused = [
        answer.json()["checks"]["stock"] for answer in answers if answer.json()["status"] == "REJECTED"
    ]
    assert {(check["code"], check["asked"], check["available"]) for check in refused} == {
        ("INSUFFICIENT_STOCK", 1, 0)
    }
    assert shop.stock(pen) == (0, 0, 1)
    assert shop.account() == (999, 0, 1)


def test_a_hot_product_sells_exactly_what_there_is(shop: Shop, design: Server) -> None:
    shop.credit(10_000)
    pen = shop.product(150)

    answers = all_at_once(design, [{"url": "/order", "json": shop.order((pen, 1))}] * 200)

    assert statuses(answers) == {"SHIPPED": 150, "REJECTED": 50}
    assert shop.stock(pen) == (0, 0, 150)
    assert shop.account() == (9850, 0, 150)


def test_the_last_credit_is_spent_once_and_takes_no_stock_beyond(shop: Shop, design: Server) -> None:
    shop.credit(5)
    pen = shop.product(100)

    answers = all_at_once(design, [{"url": "/order", "json": shop.order((pen, 1), total=2)}] * 20)

    assert statuses(answers) == {"SHIPPED": 2, "REJECTED": 18}
    assert shop.account() == (1, 0, 4)
    assert shop.stock(pen) == (98, 0, 2)


def test_orders_and_batches_in_any_order_of_products_never_wait_for_each_other(
    shop: Shop, design: Server
) -> None:
    shop.credit(10_000)
    other = Shop(shop.client)
    other.credit(10_000)
    pen, cup = shop.product(10_000), shop.product(10_000)
    there, back = ((pen, 1), (cup, 1)), ((cup, 1), (pen, 1))
    singles = [
        {"url": "/order", "json": each.order(*lines)} for each in (shop, other) for lines in (there, back)
    ]
    batches = [
        {
            "url": "/orders",
            "json": {"orders": [one.order((a, 1)), two.order((b, 1)), one.order((b, 1), (a, 1))]},
        }
        for one, two in ((shop, other), (other, shop))
        for a, b in ((pen, cup), (cup, pen))
    ]

    answers = all_at_once(design, [*singles, *batches] * 12)

    assert Counter(answer.status_code for answer in answers) == {201: 96}
    assert shop.stock(pen) == shop.stock(cup)
    assert shop.stock(pen)[2] == 48 + 48 * 2


# ----------------------------------------------------------------------------------- the credit service
def test_while_the_credit_service_is_away_orders_are_refused_at_once() -> None:
    now, asked = [0.0], []

    async def ask() -> None:
        asked.append(now[0])
        raise OSError

    service = credit.CreditService(ask, clock=lambda: now[0])

    async def order() -> None:
        with pytest.raises(TransientError):
            await service.check()

    for _ in range(credit.MAX_FAILURES + 20):
        asyncio.run(order())
    assert len(asked) == credit.MAX_FAILURES

    now[0] = credit.OPEN_SECONDS
    for _ in range(3):
        asyncio.run(order())
    assert len(asked) == credit.MAX_FAILURES + 1


def test_once_the_credit_service_is_back_all_orders_ask_it_again() -> None:
    now, is_away, asked = [0.0], [True], []

    async def ask() -> None:
        asked.append(now[0])
        if is_away[0]:
            await asyncio.sleep(60)

    service = credit.CreditService(ask, timeout=0.01, clock=lambda: now[0])
    for _ in range(credit.MAX_FAILURES):
        with pytest.raises(TransientError):
            asyncio.run(service.check())
    is_away[0], now[0] = False, credit.OPEN_SECONDS

    for _ in range(10):
        asyncio.run(service.check())

    assert len(asked) == credit.MAX_FAILURES + 10


def test_an_order_waits_for_a_slow_credit_service_without_holding_anything(starter: Starter) -> None:
    with httpx.Client(base_url=starter.server.url, timeout=30) as client:
        shop = Shop(client)
        shop.credit(100)
        pen = shop.product(10)
        started = time.monotonic()

        answers = all_at_once(starter.server, [{"url": "/order", "json": shop.order((pen, 1))}] * 10)

    assert time.monotonic() - started >= CREDIT_DELAY_MS / 1000
    assert statuses(answers) == {"SHIPPED": 10}


# ------------------------------------------------------------------------------------------- its server
def test_it_ends_with_its_starter_even_if_that_is_killed(starter: Starter) -> None:
    found = starter.server
    processes = [psutil.Process(pid) for pid in (found.pid, found.app_pid, found.database_pid)]
    processes += [child for process in processes for child in process.children(recursive=True)]
    home = Path(found.database_url.partition("host=")[2])
    assert home.is_dir()

    starter.process.send_signal(signal.SIGKILL)

    starter.process.wait()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []
    assert not home.exists()


def test_it_says_which_port_is_taken_and_what_is_not_installed(
    design: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = int(design.url.rpartition(":")[2])
    with pytest.raises(CommandError, match=f"Port {port} is taken"), server.running(port=port):
        pass

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(database, "DEBIAN", str(tmp_path))
    with pytest.raises(CommandError, match="apt-get install postgresql"):
        server.installed()


def test_of_several_versions_of_postgresql_it_takes_the_newest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("9.6", "15", "14"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin/initdb").touch()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(database, "DEBIAN", str(tmp_path))

    assert database.programs() == tmp_path / "15/bin"


# ---------------------------------------------------------------------------------------------- support
@contextlib.contextmanager
def locked_account(design: Server, customer: str) -> Iterator[None]:
    """Lock a customer's account on another connection for a block."""
    psql = subprocess.Popen(
        [database.programs() / "psql", "--no-psqlrc", "--quiet", "--tuples-only", design.database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert psql.stdin is not None
    assert psql.stdout is not None
    psql.stdin.write(f"BEGIN; SELECT 'locked' FROM account WHERE customer_id = '{customer}' FOR UPDATE;\n")
    psql.stdin.flush()
    assert "locked" in psql.stdout.readline()
    yield
    psql.communicate("ROLLBACK;")


def until_answered(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The response, after the first request with its key has ended."""
    deadline = time.monotonic() + 10
    while (answer := ask()).status_code == 409 and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer
