"""`sam validate`, `sam build`, `sam local invoke` and `sam local start-api` on the one template."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from local.engine import ROOT
from tests.sam_local.sam import BUILD, Sam, validate
from tests.sam_local.services import Services, read

# Starting a container takes a second or two, the first one longer: sam builds an image with the layers.
pytestmark = pytest.mark.timeout(400)

NO_FAILURES: dict[str, Any] = {"batchItemFailures": []}


def sample(name: str) -> dict[str, Any]:
    return read((ROOT / f"events/{name}.json").read_text(encoding="utf-8"))


def message(name: str, number: int = 0) -> dict[str, Any]:
    """The message in a queue function's event file."""
    return read(sample(name)["Records"][number]["body"])


def content(event: dict[str, Any]) -> dict[str, Any]:
    """The parts of a message that are the same each time it is sent."""
    return {name: value for name, value in event.items() if name not in ("id", "time")}


def figures(item: dict[str, Any]) -> list[Decimal]:
    return [Decimal(item[name]["N"]) for name in ("balance", "held", "settled")]


def test_the_template_is_valid() -> None:
    finished = validate()
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    "folder",
    ["DependenciesLayer/python/pydantic_core", "TokensLayer/python/cryptography/hazmat/bindings"],
)
def test_the_build_is_for_the_templates_runtime(built: None, folder: str) -> None:
    libraries = (BUILD / folder).glob("*.so")
    platforms = {path.name.split(".")[1] for path in libraries}
    assert platforms == {"cpython-313-x86_64-linux-gnu", "cpython-313-aarch64-linux-gnu"}


def test_the_event_files_one_after_another_ship_an_order(sam: Sam, services: Services) -> None:
    # The balances are set.
    answer = sam.invoke("AccountApiFunction", "events/account_api.json")
    assert (answer["statusCode"], read(answer["body"])["balance"]) == (200, 100)
    answer = sam.invoke("StockApiFunction", "events/stock_api.json")
    assert (answer["statusCode"], read(answer["body"])["balance"]) == (200, 40)

    # The order is captured, and the topic asks for the checks.
    answer = sam.invoke("OrderApiFunction", "events/order_api.json")
    assert answer["statusCode"] == 202
    order_id = read(answer["body"])["orderId"]
    assert services.item("OrderTable", orderId=order_id)["status"] == {"S": "PENDING"}
    (requested,) = services.messages("Checks")
    assert content(requested) == content(message("balance_checker")) == content(message("stock_checker"))

    # Its event is published, and it is watched. The watchdog requests missing checks again.
    assert sam.invoke("ChangePublisherFunction", "events/change_publisher.json") == {}
    (event,) = services.messages("Events")
    assert (event["type"], event["subject"]) == ("order.placed", order_id)
    (watched,) = services.messages("OrderWatch")
    assert watched["data"] == message("order_watchdog")["data"] | {"delay": 0}
    assert sam.invoke("OrderWatchdogFunction", "events/order_watchdog.json") == NO_FAILURES
    (requested,) = services.messages("Checks")
    assert content(requested)["data"] == message("balance_checker")["data"]

    # Both checks hold what the order needs, and report.
    assert sam.invoke("BalanceCheckerFunction", "events/balance_checker.json") == NO_FAILURES
    (answered,) = services.messages("OrderUpdate")
    assert content(answered) == content(message("order_update", 0))
    account = {"customerId": "alice", "entry": "BALANCE"}
    assert figures(services.item("AccountTable", **account)) == [Decimal("74.50"), Decimal("25.50"), 0]

    assert sam.invoke("StockCheckerFunction", "events/stock_checker.json") == NO_FAILURES
    (answered,) = services.messages("OrderUpdate")
    assert content(answered) == content(message("order_update", 1))
    stock = {"productId": "espresso-beans", "entry": "BALANCE"}
    assert figures(services.item("StockTable", **stock)) == [38, 2, 0]

    # The order is confirmed and sent on to be shipped.
    assert sam.invoke("OrderUpdateFunction", "events/order_update.json") == NO_FAILURES
    assert services.item("OrderTable", orderId=order_id)["status"] == {"S": "CONFIRMED"}
    (shipping,) = services.messages("ShipOrder")
    assert content(shipping) == content(message("ship_order"))

    # It is shipped, and the books show it.
    assert sam.invoke("ShipOrderFunction", "events/ship_order.json") == NO_FAILURES
    assert services.item("OrderTable", orderId=order_id)["status"] == {"S": "SHIPPED"}
    assert figures(services.item("AccountTable", **account)) == [Decimal("74.50"), 0, Decimal("25.50")]
    assert figures(services.item("StockTable", **stock)) == [38, 0, 2]

    # The account's state is published once for a batch of its changes.
    assert sam.invoke("LedgerPublisherFunction", "events/ledger_publisher.json") == {}
    (state,) = services.messages("States")
    assert (state["type"], state["subject"], state["data"]["version"]) == ("account.state", "alice", 3)


def test_the_api_takes_an_order(sam: Sam, services: Services) -> None:
    body = {"customerId": "bob", "items": [{"productId": "pen", "qty": 1}], "totalAmount": 1.5}
    with sam.api() as api:
        # when
        answer = api.post("/order", json=body, headers={"X-Correlation-Id": "from-sam-local"})
        found = api.get(f"/order/{answer.json()['orderId']}")
        refused = api.post("/order", json=body | {"items": []})
    # then
    assert answer.status_code == 202
    assert answer.headers["X-Correlation-Id"] == "from-sam-local"
    order_id = answer.json()["orderId"]
    assert services.item("OrderTable", orderId=order_id)["customerId"] == {"S": "bob"}
    assert [requested["subject"] for requested in services.messages("Checks")] == [order_id]
    assert (found.status_code, found.json()) == (200, answer.json())
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == ["items"]
