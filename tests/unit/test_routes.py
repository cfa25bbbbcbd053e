"""Each route reads exactly the contract's parameters, and its response follows the contract."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator

from contracts.http_baseline import resolve
from order_capture import bootstrap
from order_capture.entrypoints.http import api
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import (
    NOW,
    SERVICE_CLAIMS,
    a_commit,
    a_decline,
    api_event,
    customer_claims,
    delivery_of,
    fact_of,
)
from tests.support.fakes import MemoryLogs, MemoryPublisher, MemoryQueues, a_dead_letter
from tests.support.stores import memory_stores

CONTRACT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "swagger.yaml").read_text("utf-8"))
ANY = "x-amazon-apigateway-any-method"
ORDER = {"customerId": "alice", "items": [{"productId": "pen", "qty": 1}], "totalAmount": 9.5}
BODIES = {
    "/order": ORDER,
    "/orders": {"orders": [ORDER, ORDER]},
    "/account": {"customerId": "alice", "balance": 100},
    "/stock": {"productId": "pen", "balance": 5},
    "/webhooks": {"customerId": "alice", "url": "https://shop.example.com/hooks"},
    "/operations/dead-letters/{queue}/redrive": {"dryRun": True},
    "/operations/dead-letters/{queue}/discard": {"messageIds": ["message-1"]},
    "/operations/open-orders/recheck": {},
}
QUERIES = {
    "/orders": {"customerId": ["alice"]},
    "/webhooks": {"customerId": ["alice"]},
    "/reports/daily": {"from": ["2026-11-20"], "to": ["2026-11-20"]},
}
FUNCTIONS = {
    "OrderApiFunction": "order_api",
    "OrderReaderFunction": "order_reader",
    "AccountApiFunction": "account_api",
    "StockApiFunction": "stock_api",
    "WebhookApiFunction": "webhook_api",
    "ReportsApiFunction": "reports_api",
    "OperationsApiFunction": "operations_api",
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation that a function answers."""
    for path, item in CONTRACT["paths"].items():
        for method, operation in item.items():
            if (
                method in ("get", "post", "delete")
                and operation["x-amazon-apigateway-integration"]["type"] == "aws_proxy"
            ):
                yield method.upper(), path, operation


class Watched(dict[str, Any]):
    """A mapping that records its lookups."""

    def __init__(self, values: Any) -> None:
        super().__init__(values)
        self.requested: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.requested.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.requested.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.requested.add(name)
        return super().get(name, default)


class Desk:
    """The API's functions over in-memory repositories, and the parameters that they read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order_id = self.webhook_id = self.delivery_id = ""
        self._seen: list[api.Request] = []
        stores = memory_stores(DynamoDB())
        for name in ("orders", "accounts", "stock", "webhooks", "reports"):
            monkeypatch.setattr(bootstrap, name, lambda name=name: getattr(stores, name))
        histories = {"customerId": stores.account_history, "productId": stores.stock_history}
        monkeypatch.setattr(bootstrap, "history", histories.__getitem__)
        queues = MemoryQueues({"order_update": [a_dead_letter(), a_dead_letter("order-1")]})
        monkeypatch.setattr(bootstrap, "queues", lambda: queues)
        monkeypatch.setattr(bootstrap, "function_logs", MemoryLogs)
        for name in ("check_publisher", "webhook_publisher", "watchdog_publisher"):
            monkeypatch.setattr(bootstrap, name, lambda _source: MemoryPublisher())
        stores.reports.count(1, [fact_of()], NOW)
        read = api._request

        def watched(*arguments: Any) -> api.Request:
            request = read(*arguments)
            path, query, headers = Watched(request.path), Watched(request.query), Watched(request.headers)
            self._seen.append(dataclasses.replace(request, path=path, query=query, headers=headers))
            return self._seen[-1]

        monkeypatch.setattr(api, "_request", watched)
        self.order_id = self.ask("POST", "/order")[1]["orderId"]
        self.ask("POST", "/account")
        self.ask("POST", "/stock")
        for key, entity in (("customerId", "alice"), ("productId", "pen")):
            histories[key].put([a_commit(entity), a_decline(entity)])
        self.webhook_id = self.ask("POST", "/webhooks")[1]["webhookId"]
        webhook = stores.webhooks.get(self.webhook_id)
        assert webhook is not None
        delivery = delivery_of(webhook)
        stores.webhooks.add_delivery(delivery)
        self.delivery_id = delivery.delivery_id

    def ask(
        self,
        method: str,
        path: str,
        query: dict[str, list[str]] | None = None,
        headers: dict[str, str] | None = None,
        written_as: str = "",
        claims: dict[str, str] = SERVICE_CLAIMS,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send a valid request with optional additions to a route; returns the response and its body."""
        operation = CONTRACT["paths"][path].get(method.lower(), CONTRACT["paths"][path][ANY])
        integration = operation["x-amazon-apigateway-integration"]
        (function,) = re.findall(r"\{(\w+)Aliaslive\}", integration["uri"]["Fn::Sub"])
        ids = {
            "orderId": self.order_id,
            "customerId": "alice",
            "productId": "pen",
            "webhookId": self.webhook_id,
            "deliveryId": self.delivery_id,
            "queue": "order_update",
        }
        event = api_event(
            method,
            path,
            BODIES.get(path) if method == "POST" else None,
            headers={"Idempotency-Key": f"key-{len(self._seen)}"} | (headers or {}),
            path={name: written_as or ids[name] for name in re.findall(r"{(\w+)}", path)},
            query={**(QUERIES.get(path, {}) if method in ("GET", "HEAD") else {}), **(query or {})},
            claims=claims,
        )
        answer: dict[str, Any] = importlib.import_module(f"functions.{FUNCTIONS[function]}.app").handler(
            event, None
        )
        return answer, json.loads(answer["body"]) if answer["body"] else {}

    def read(self) -> set[tuple[str, str]]:
        """The parameters read from the last request, by their names in the contract."""
        request = self._seen[-1]
        places = {"path": request.path, "query": request.query, "header": request.headers}
        return {
            (place, name.lower() if place == "header" else name)
            for place, values in places.items()
            if isinstance(values, Watched)
            for name in values.requested
        }


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


@pytest.mark.parametrize(
    ("method", "path", "operation"), [pytest.param(*each, id=" ".join(each[:2])) for each in operations()]
)
def test_a_route_reads_the_parameters_that_the_contract_names(
    desk: Desk, method: str, path: str, operation: dict[str, Any]
) -> None:
    desk.ask(method, path)
    named = [resolve(CONTRACT, each) for each in operation["parameters"]]
    # OpenAPI has a body's media type together with its schema.
    media_type = {("header", "content-type")} if "requestBody" in operation else set()
    assert desk.read() == media_type | {
        (each["in"], each["name"].lower() if each["in"] == "header" else each["name"]) for each in named
    }


EVERY_OPERATION = pytest.mark.parametrize(
    ("method", "path", "operation"), [pytest.param(*each, id=" ".join(each[:2])) for each in operations()]
)


def _fields(body: dict[str, Any]) -> list[str]:
    return [error["field"] for error in body["errors"]]


@EVERY_OPERATION
def test_a_route_refuses_a_parameter_that_the_contract_does_not_name(
    desk: Desk, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer, body = desk.ask(method, path, {"unknown": ["5"]})
    assert (answer["statusCode"], _fields(body)) == (400, ["unknown"])


@EVERY_OPERATION
def test_a_route_refuses_a_parameter_that_comes_twice(
    desk: Desk, method: str, path: str, operation: dict[str, Any]
) -> None:
    names = sorted(name for place, name in _parameters(operation) if place == "query") or ["unknown"]
    answer, body = desk.ask(method, path, {name: ["5", "5"] for name in names})
    assert (answer["statusCode"], _fields(body)) == (400, names)


# The scopes that a customer's app client may have; the console's has all, for every user.
FOR_CUSTOMERS = {"orders/read", "orders/write"}


@EVERY_OPERATION
def test_a_route_is_for_customers_only_if_its_scope_is(
    desk: Desk, method: str, path: str, operation: dict[str, Any]
) -> None:
    ((scope,),) = operation["security"][0].values()
    for caller in (method, "HEAD" if method == "GET" else "PUT"):  # the path may lack it
        answer, body = desk.ask(caller, path, claims=customer_claims("alice"))
        if scope in FOR_CUSTOMERS:
            assert answer["statusCode"] < 300 or caller != method
        else:
            assert answer["statusCode"] == 403
            assert body.get("detail", "") in ("Only services and operators may do this.", "")


@EVERY_OPERATION
def test_every_route_is_for_operators(desk: Desk, method: str, path: str, operation: dict[str, Any]) -> None:
    operator = customer_claims("olga") | {"cognito:groups": "[operators]"}
    assert desk.ask(method, path, claims=operator)[0]["statusCode"] < 300


@EVERY_OPERATION
@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "Application/JSON; charset=utf-8"]
)
def test_a_route_takes_a_body_of_the_contracts_type_only(
    desk: Desk, media_type: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer, body = desk.ask(method, path, headers={"Content-Type": media_type})
    if "requestBody" in operation and "json" not in media_type.lower():
        assert (answer["statusCode"], body["title"]) == (415, "Unsupported media type")
    else:
        assert answer["statusCode"] < 300


@EVERY_OPERATION
@pytest.mark.parametrize("dots", [".", "..", "%2e", "%2E%2e", "..%2f"])
def test_no_route_knows_an_id_that_an_address_can_not_carry(
    desk: Desk, dots: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    if "{" in path:
        answer, body = desk.ask(method, path, written_as=dots)
        assert (answer["statusCode"], body["detail"]) == (404, "Resource not found.")


# Without an operation, and so not in the contract: the console's page, and unknown routes.
@pytest.mark.parametrize("path", [path for path, item in CONTRACT["paths"].items() if item.keys() != {ANY}])
@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "TRACE"])
def test_a_path_answers_head_where_it_has_get_and_no_method_that_it_has_not(
    desk: Desk, method: str, path: str
) -> None:
    has = {each.upper() for each in CONTRACT["paths"][path] if each != ANY}
    answer, _ = desk.ask(method, path)
    if method == "HEAD" and "GET" in has:
        got, _ = desk.ask("GET", path)
        assert answer == {**got, "body": ""}
    else:
        allowed = has | ({"HEAD"} if "GET" in has else set())
        assert (answer["statusCode"], set(answer["headers"]["Allow"].split(", "))) == (405, allowed)


def _parameters(operation: dict[str, Any]) -> set[tuple[str, str]]:
    named = (resolve(CONTRACT, each) for each in operation["parameters"])
    return {(each["in"], each["name"]) for each in named}


@pytest.mark.parametrize(
    ("method", "path", "operation"), [pytest.param(*each, id=" ".join(each[:2])) for each in operations()]
)
def test_a_route_answers_as_the_contract_says(
    desk: Desk, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer, body = desk.ask(method, path)
    response = resolve(CONTRACT, operation["responses"][str(answer["statusCode"])])
    assert answer["statusCode"] < 300
    media_type = answer["headers"].pop("Content-Type", None)
    assert answer["headers"].keys() <= response["headers"].keys()
    if "content" not in response:
        assert (media_type, answer["body"]) == (None, "")
        return
    (content,) = response["content"].items()
    assert media_type == content[0]
    schema = {**content[1]["schema"], "components": CONTRACT["components"]}
    assert [error.message for error in OAS30Validator(schema).iter_errors(body)] == []
