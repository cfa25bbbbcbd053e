"""A customer's data, exported and erased; the books of all others are unchanged."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters import system
from order_capture.adapters.dynamodb.ledger_repository import DynamoLedgerRepository
from order_capture.application.retry import Retry
from order_capture.domain.ledger import ACCOUNTS
from order_capture.domain.stripes import split
from order_capture_ops import audit as audits
from order_capture_ops.audit import audit
from order_capture_ops.customer_data import SCHEMA
from order_capture_ops.erase_customer import PREFIX
from order_capture_ops.reports import check_reports
from order_capture_ops.stack import Stack
from order_capture_ops.tables import Tables
from tests.operations.conftest import Run
from tests.support.pipeline import Pipeline
from tests.support.shop import Shop, order_of

TABLES = (
    "OrderTable",
    "AccountTable",
    "StockTable",
    "HistoryTable",
    "ReportTable",
    "WebhookTable",
    "ConnectionTable",
)
CUSTOMER = "al.ice-1"
NEIGHBOUR = "al.ice-12"


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    """Waiting runs the pipeline instead of sleeping."""
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(system, "sleep", lambda _: pipeline.run())


class UserPool:
    """Cognito's user pool, as far as its users are concerned."""

    def __init__(self) -> None:
        self.users = {CUSTOMER, NEIGHBOUR}

    def admin_get_user(self, Username: str, **_: object) -> dict[str, Any]:  # noqa: N803
        self._known(Username)
        attributes = [{"Name": "email", "Value": f"{Username}@example.com"}]
        return {"Username": Username, "UserStatus": "CONFIRMED", "UserAttributes": attributes}

    def admin_delete_user(self, Username: str, **_: object) -> None:  # noqa: N803
        self._known(Username)
        self.users.remove(Username)

    def _known(self, name: str) -> None:
        if name not in self.users:
            error: Any = {"Error": {"Code": "UserNotFoundException", "Message": "no such user"}}
            raise botocore.exceptions.ClientError(error, "AdminGetUser")


@pytest.fixture
def pool() -> UserPool:
    return UserPool()


@pytest.fixture
def stack(stack: Stack, pool: UserPool) -> Stack:
    def client(service: str) -> Any:
        return pool if service == "cognito-idp" else stack.client(service)

    return Stack(stack.name, {**stack.outputs, "UserPoolId": "pool"}, stack.parameters, client)


@pytest.fixture
def orders(shop: Shop, tables: Tables) -> dict[str, str]:
    """Two customers with one id prefix; one has stripes, a webhook, a callback and all kinds of orders."""
    pipeline = shop.pipeline
    shop.open({CUSTOMER: 1000, NEIGHBOUR: 1000}, {})
    ledger = DynamoLedgerRepository(
        tables.accounts.client, tables.accounts.name, "customerId", Retry(system.backoff)
    )
    root = ledger.head(CUSTOMER)
    assert root is not None
    ledger.write(split(ACCOUNTS, CUSTOMER, root, 4), [], pipeline.now())
    for customer in (CUSTOMER, NEIGHBOUR):
        webhook = {"customerId": customer, "url": "https://example.com/hook"}
        assert pipeline.ask("POST", "/webhooks", webhook, {"Idempotency-Key": customer}).status == 201
    callback = {**order_of(CUSTOMER, 500, pen=2), "callbackUrl": "https://al.ice-1.example.com/"}
    orders = {
        "shipped": shop.order(callback, key="key-1"),
        "rejected": shop.order(order_of(CUSTOMER, 5000, pen=1)),
        "neighbour": shop.order(order_of(NEIGHBOUR, 7, pen=1)),
    }
    pipeline.run()
    orders["cancelled"] = shop.order(order_of(CUSTOMER, 7, pen=1))
    for name in ("balance_checker", "stock_checker"):
        pipeline.deliver(name)
    answer = pipeline.ask("POST", f"/order/{orders['cancelled']}/cancel", None, {"Idempotency-Key": "cancel"})
    assert answer.status == 200
    pipeline.run()
    subscribe(tables, "connection-1", CUSTOMER)
    subscribe(tables, "connection-2", NEIGHBOUR)
    pipeline.wait(600)
    assert differences(tables) == []
    return orders


def subscribe(tables: Tables, connection: str, customer: str) -> None:
    for followed, name, value in (
        (f"customer#{customer}", "connections", connection),
        (f"connection#{connection}", "follows", f"customer#{customer}"),
    ):
        key = "*" if name == "connections" else connection
        item = {"followed": {"S": followed}, "connectionId": {"S": key}, name: {"SS": [value]}}
        tables.orders.client.put_item(TableName="ConnectionTable", Item=item)


def differences(tables: Tables) -> list[str]:
    return [f"{each.entity}: {each.what}" for each in audit(tables, 10_000, 0).differences]


def named(pipeline: Pipeline, customer: str) -> list[str]:
    """All items that name a customer, but not another one whose id has the same prefix."""
    others = customer + "2"
    return [
        f"{table} {item}"
        for table in TABLES
        for item in pipeline.items(table)
        if customer in json.dumps(item, default=str).replace(others, "")
    ]


@pytest.fixture
def erase(run: Run, orders: dict[str, str]) -> Callable[..., int]:
    return lambda *options: run("erase-customer", CUSTOMER, *options)


class TestTheExport:
    def test_has_all_that_is_held_and_no_secret(
        self, run: Run, orders: dict[str, str], pipeline: Pipeline, tmp_path: Path
    ) -> None:
        output = tmp_path / "export" / "customer.json"

        assert run("export-customer", CUSTOMER, "--output", str(output)) == 0

        held = json.loads(output.read_text())
        assert stat.S_IMODE(output.stat().st_mode) == 0o600
        assert (held["schema"], held["customerId"]) == (SCHEMA, CUSTOMER)
        assert {order["orderId"] for order in held["orders"]} == {
            orders[name] for name in ("shipped", "rejected", "cancelled")
        }
        assert [len(order["accountEntries"]) for order in held["orders"]] == [1, 1, 2]
        assert len(held["account"]["balances"]) == 5
        assert sum(each["settled"] for each in held["account"]["balances"]) == 500
        assert held["user"]["attributes"]["email"] == f"{CUSTOMER}@example.com"
        assert "https://example.com/hook" in {each["url"] for each in held["webhooks"]}
        assert held["deliveries"]
        assert held["accountHistory"]
        assert len(held["idempotencyRecords"]) == 2
        assert held["connections"] == ["connection-1"]
        assert "whsec" not in output.read_text()
        assert NEIGHBOUR not in output.read_text()

    def test_of_nobody_is_refused(
        self, run: Run, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("export-customer", "nobody", "--output", str(tmp_path / "x.json")) == 1
        assert "There is no data about a customer nobody" in capsys.readouterr().err
        assert not (tmp_path / "x.json").exists()


class TestAnErasure:
    def test_leaves_the_name_nowhere_and_the_books_right(
        self, erase: Callable[..., int], shop: Shop, stack: Stack, tables: Tables, pool: UserPool
    ) -> None:
        pipeline = shop.pipeline
        neighbour, figures = named(pipeline, NEIGHBOUR), [shop.stock("pen"), shop.account(NEIGHBOUR)]
        reports = pipeline.items("ReportTable")

        assert erase() == 0
        pipeline.run()

        assert named(pipeline, CUSTOMER) == []
        assert differences(tables) == []
        assert check_reports(stack, 0).differences == []
        assert pipeline.items("ReportTable") == reports
        assert len(named(pipeline, NEIGHBOUR)) == len(neighbour)  # a delivery may have been tried again
        assert [shop.stock("pen"), shop.account(NEIGHBOUR)] == figures
        assert pool.users == {NEIGHBOUR}

    def test_keeps_each_order_under_one_random_name(
        self, erase: Callable[..., int], orders: dict[str, str], shop: Shop
    ) -> None:
        versions = {name: shop.view(order_id) for name, order_id in orders.items()}
        erase()

        views = {name: shop.view(orders[name]) for name in ("shipped", "rejected", "cancelled")}
        (pseudonym,) = {view["customerId"] for view in views.values()}
        assert pseudonym.startswith(PREFIX)
        assert {name: view["status"] for name, view in views.items()} == {
            "shipped": "SHIPPED",
            "rejected": "REJECTED",
            "cancelled": "CANCELLED",
        }
        for name, view in views.items():
            assert (view["items"], view["totalAmount"]) == (
                versions[name]["items"],
                versions[name]["totalAmount"],
            )
        settled = [
            Decimal(item["settled"]["N"])
            for item in shop.pipeline.items("AccountTable")
            if item["customerId"]["S"].startswith(pseudonym) and item["entry"]["S"] == "BALANCE"
        ]
        assert sum(settled) == 500

    def test_publishes_a_tombstone_and_no_event(
        self, erase: Callable[..., int], shop: Shop, orders: dict[str, str]
    ) -> None:
        events, states = (shop.pipeline.listen(topic) for topic in ("OrderEventTopic", "AccountTopic"))

        erase()
        shop.pipeline.run()

        assert events() == []
        last = [json.loads(body) for body in states()]
        assert {each["data"]["deleted"] for each in last if each["subject"] == CUSTOMER} == {True}

    def test_may_be_repeated(
        self, erase: Callable[..., int], tables: Tables, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (erase(), erase()) == (0, 0)
        assert "There is no data" in capsys.readouterr().out
        assert differences(tables) == []

    def test_that_is_killed_at_any_write_is_finished_by_the_next(
        self,
        erase: Callable[..., int],
        orders: dict[str, str],
        stack: Stack,
        tables: Tables,
        pipeline: Pipeline,
    ) -> None:
        allowed, is_marked = 1, False
        while True:
            with killed_after(stack, allowed) as killed:
                code = erase()
            if not killed:
                break
            is_marked = is_marked or any("erasure" in each for each in differences(tables))
            allowed += 1
        pipeline.run()

        assert (code, is_marked) == (0, True)
        assert allowed > 5
        assert named(pipeline, CUSTOMER) == []
        assert differences(tables) == []
        pseudonyms = {item["customerId"]["S"] for item in pipeline.items("OrderTable") if "status" in item}
        assert len({each for each in pseudonyms if each.startswith(PREFIX)}) == 1

    def test_takes_an_order_along_that_is_placed_meanwhile(
        self,
        erase: Callable[..., int],
        shop: Shop,
        tables: Tables,
        monkeypatch: pytest.MonkeyPatch,
        orders: dict[str, str],
    ) -> None:
        placed: list[str] = []

        def place(_: float) -> None:
            if not placed:
                placed.append(shop.order(order_of(CUSTOMER, 5, pen=1)))
            shop.pipeline.run()

        monkeypatch.setattr(system, "sleep", place)
        assert erase() == 0

        view = shop.view(placed[0])
        assert (view["status"], view["customerId"][: len(PREFIX)]) == ("REJECTED", PREFIX)
        assert named(shop.pipeline, CUSTOMER) == []
        assert differences(tables) == []

    def test_moves_nothing_when_old_messages_come_again(
        self, erase: Callable[..., int], shop: Shop, tables: Tables
    ) -> None:
        erase()
        figures = [shop.stock("pen"), shop.account(NEIGHBOUR)]

        shop.pipeline.redeliver_everything()
        for name in ("balance_checker", "stock_checker", "order_update", "ship_order", "order_watchdog"):
            shop.pipeline.deliver(name)

        assert [shop.stock("pen"), shop.account(NEIGHBOUR)] == figures
        assert differences(tables) == []

    def test_is_refused_while_an_order_is_open(
        self, erase: Callable[..., int], shop: Shop, pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
    ) -> None:
        order_id = shop.order(order_of(CUSTOMER, 5, pen=1))
        before = named(pipeline, CUSTOMER)

        assert erase() == 1

        error = capsys.readouterr().err
        assert "has an open order" in error
        assert f"{order_id} (it is PENDING)" in error
        assert named(pipeline, CUSTOMER) == before

    def test_is_only_shown_in_a_dry_run(
        self, erase: Callable[..., int], pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = named(pipeline, CUSTOMER)
        assert erase("--dry-run") == 0
        assert "Nothing was deleted" in capsys.readouterr().out
        assert named(pipeline, CUSTOMER) == before


class killed_after:  # noqa: N801 - it is used as a function
    """Kill the command after this number of writes."""

    def __init__(self, stack: Stack, writes: int) -> None:
        self._stack, self._left, self._killed = stack, writes, False

    def __enter__(self) -> killed_after:
        self._client = self._stack.client
        object.__setattr__(self._stack, "client", self._counted)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        object.__setattr__(self._stack, "client", self._client)
        return kind is KeyboardInterrupt

    def __bool__(self) -> bool:
        return self._killed

    def _counted(self, service: str) -> Any:
        client = self._client(service)
        if isinstance(client, UserPool):
            return client
        client.meta.events.register(f"before-call.{service}", self._count)
        return client

    def _count(self, model: Any, **_: object) -> None:
        if model.name in ("PutItem", "DeleteItem", "UpdateItem", "TransactWriteItems", "BatchWriteItem"):
            if not self._left:
                self._killed = True
                raise KeyboardInterrupt
            self._left -= 1
