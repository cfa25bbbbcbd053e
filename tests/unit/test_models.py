"""The models accept exactly the requests that swagger.yaml allows: field by field, bound by bound."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator
from pydantic import BaseModel, ValidationError

from contracts.http_baseline import Facts, Place, fields, resolve
from order_capture.entrypoints.http import (
    api,
    histories,
    ledger_requests,
    operations,
    order_requests,
    reports,
    requests,
    webhook_requests,
)
from order_capture.entrypoints.http.problems import RequestInvalidError
from tests.support.factories import SERVICE

ROOT = Path(__file__).parents[2]
CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))

BODIES: dict[str, tuple[type[BaseModel], int]] = {
    "/order": (order_requests.NewOrder, requests.MAX_BODY_BYTES),
    "/orders": (order_requests.NewOrders, order_requests.MAX_BATCH_BYTES),
    "/account": (ledger_requests.AccountChange, requests.MAX_BODY_BYTES),
    "/stock": (ledger_requests.StockChange, requests.MAX_BODY_BYTES),
    "/webhooks": (webhook_requests.NewWebhook, requests.MAX_BODY_BYTES),
    "/operations/dead-letters/{queue}/redrive": (operations.Redrive, requests.MAX_BODY_BYTES),
    "/operations/dead-letters/{queue}/discard": (operations.Discard, requests.MAX_BODY_BYTES),
    "/operations/open-orders/recheck": (operations.Recheck, requests.MAX_BODY_BYTES),
}
QUERIES: dict[str, type[BaseModel]] = {
    "/orders": order_requests.ListOrdersQuery,
    "/order/{orderId}": order_requests.GetOrderQuery,
    "/order/{orderId}/status": order_requests.GetOrderQuery,
    "/account": ledger_requests.ListBalancesQuery,
    "/account/{customerId}": histories.BalanceQuery,
    "/account/{customerId}/history": histories.HistoryQuery,
    "/stock": ledger_requests.ListBalancesQuery,
    "/stock/{productId}": histories.BalanceQuery,
    "/stock/{productId}/history": histories.HistoryQuery,
    "/webhooks": webhook_requests.WebhooksQuery,
    "/webhooks/{webhookId}/deliveries": webhook_requests.DeliveriesQuery,
    "/reports/daily": reports.DailyQuery,
    "/operations/dead-letters/{queue}": operations.DeadLetterQuery,
    "/operations/open-orders": operations.OpenOrderQuery,
}
# Texts that a function takes apart: test_requests.py, test_reports.py, test_histories.py
BY_MODEL = {"at", "cursor", "from", "to"}


def of_contract(schema: Mapping[str, Any]) -> dict[Place, Facts]:
    """Every field of one of the contract's schemas, and its constraints."""
    return {place: comparable(facts) for place, facts in fields(CONTRACT, schema).items()}


def of_model(model: type[BaseModel]) -> dict[Place, Facts]:
    """Every field of a model, and its constraints."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    whole = {"$defs": {name: in_the_contracts_words(each) for name, each in definitions.items()}}
    return {
        place: comparable(facts) for place, facts in fields(whole, in_the_contracts_words(schema)).items()
    }


def in_the_contracts_words(node: Any) -> Any:
    """pydantic's schema in the contract's form."""
    if not isinstance(node, dict):
        return node
    alternatives = [each for each in node.get("anyOf", []) if each != {"type": "null"}]
    words = {key: value for key, value in node.items() if key != "anyOf"}
    if alternatives:
        words = {**in_the_contracts_words(alternatives[0]), **words}  # of a Decimal: number, then text
    for ours, theirs in (("minimum", "ge"), ("maximum", "le")):
        if theirs in words:
            words[ours] = words.pop(theirs)
    if "properties" in words:
        words["properties"] = {
            name: in_the_contracts_words(each) for name, each in words["properties"].items()
        }
    return words


def comparable(facts: Facts) -> Facts:
    """Bounds as exact numbers; a pattern's own count of characters as bounds; nothing of defaults."""
    bounds = {key: value for key, value in facts.items() if key != "default"}
    for bound in ("minimum", "maximum"):
        if bound in bounds:
            bounds[bound] = Decimal(str(bounds[bound]))
    if counted := re.fullmatch(r"(.*){(\d+),(\d+)}\$", bounds.get("pattern", "")):
        bounds |= {"pattern": f"{counted[1]}+$", "minLength": int(counted[2]), "maxLength": int(counted[3])}
    return bounds


def body_schema(path: str) -> Any:
    return CONTRACT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize(("path", "model"), [(path, model) for path, (model, _) in BODIES.items()])
def test_a_body_is_checked_for_what_the_contract_says(path: str, model: type[BaseModel]) -> None:
    listed, checked = of_contract(body_schema(path)), of_model(model)
    if path == "/orders":
        # its orders are checked one by one, each as the body of POST /order
        order = of_model(order_requests.NewOrder)
        checked |= {("orders", "[]", *place): facts for place, facts in order.items()}
    if path in ("/account", "/stock"):
        # what is to be beside the id is what the model itself sees to, and to where null may be
        most = {"/account": 2, "/stock": 3}[path]
        assert (listed[()].pop("minProperties"), listed[()].pop("maxProperties")) == (2, most)
        nullable = {place for place, facts in listed.items() if facts.pop("nullable", False)}
        assert nullable == ({("price",)} if path == "/stock" else set())
    assert checked == listed


def query_of(path: str) -> dict[str, Facts]:
    """The query parameters that the contract names for a GET."""
    parameters = [resolve(CONTRACT, each) for each in CONTRACT["paths"][path]["get"]["parameters"]]
    return {
        each["name"]: comparable(fields(CONTRACT, each["schema"], required=each.get("required", False))[()])
        for each in parameters
        if each["in"] == "query"
    }


@pytest.mark.parametrize(("path", "model"), QUERIES.items())
def test_a_query_is_checked_for_what_the_contract_says(path: str, model: type[BaseModel]) -> None:
    listed, checked = query_of(path), {place[0]: facts for place, facts in of_model(model).items() if place}
    assert checked.keys() == listed.keys()
    for name in checked.keys() - BY_MODEL:
        assert checked[name] == listed[name], name


@pytest.mark.parametrize(("path", "model"), QUERIES.items())
def test_what_a_query_leaves_out_is_what_the_contract_says(path: str, model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        (parameter,) = (
            each
            for each in (resolve(CONTRACT, each) for each in CONTRACT["paths"][path]["get"]["parameters"])
            if each["name"] == (field.alias or name)
        )
        if "default" in parameter["schema"]:
            assert field.default == parameter["schema"]["default"]


def test_every_get_with_a_query_has_its_model() -> None:
    assert {
        path for path, item in CONTRACT["paths"].items() if "get" in item and query_of(path)
    } == QUERIES.keys()


def shown_bodies() -> Iterator[tuple[str, str, str]]:
    """Every body that the contract and the events show, by its path and where it is."""
    for path in BODIES:
        content = CONTRACT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for name, example in content["examples"].items():
            yield path, name, json.dumps(example["value"])
    for file in sorted((ROOT / "events").glob("*.json")):
        event = json.loads(file.read_bytes())
        if "httpMethod" in event and event["body"] is not None:
            yield event["resource"], file.name, event["body"]


def postman_bodies(folder: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every body that the collection sends, by its path and its request's name; each variable is an x."""
    for item in folder["item"]:
        if "item" in item:
            yield from postman_bodies(item)
        elif "body" in item["request"]:
            sent = "/" + "/".join(item["request"]["url"]["path"])
            (path,) = (each for each in BODIES if re.fullmatch(re.sub(r"{\w+}", "[^/]+", each), sent))
            yield path, item["name"], re.sub(r"{{\w+}}", "x", item["request"]["body"]["raw"])


COLLECTION = json.loads((ROOT / "postman/order-capture.postman_collection.json").read_bytes())


def taken(path: str, body: str) -> bool:
    """Whether the models accept a body, and every order in it."""
    model, limit = BODIES[path]
    try:
        read, _ = requests.read(model, body.encode(), limit)
        if isinstance(read, order_requests.NewOrders):
            for order in read.orders:
                order_requests.NewOrder.model_validate(order)
    except (RequestInvalidError, ValidationError):
        return False
    return True


def allowed(path: str, body: str) -> bool:
    """Whether the contract allows a body: by its schema, and its rule that amounts have two places."""
    try:
        value = json.loads(body)
    except ValueError:
        return False
    if re.search(r"\.\d{3}", body):
        return False
    validator = OAS30Validator({**body_schema(path), "components": CONTRACT["components"]})
    return not [*validator.iter_errors(value)]


@pytest.mark.parametrize(
    ("path", "body"), [pytest.param(path, body, id=f"{path} {name}") for path, name, body in shown_bodies()]
)
def test_what_is_shown_is_allowed_and_taken(path: str, body: str) -> None:
    assert allowed(path, body)
    assert taken(path, body)


@pytest.mark.parametrize(
    ("path", "body"),
    [pytest.param(path, body, id=f"{path} {name}") for path, name, body in postman_bodies(COLLECTION)],
)
def test_what_the_collection_sends_is_taken_if_and_only_if_it_is_allowed(path: str, body: str) -> None:
    assert taken(path, body) == allowed(path, body)


def header(name: str) -> Facts:
    """The contract's definition of a request header."""
    parameters = CONTRACT["components"]["parameters"].values()
    (found,) = (each["schema"] for each in parameters if (each["in"], each["name"]) == ("header", name))
    schema: Facts = found
    return schema


@pytest.mark.parametrize("name", [api.KEY_HEADER, api.CORRELATION_HEADER])
@pytest.mark.parametrize("text", ["", "a", "a b", " a", "a ", "é", "a\n", "\t"])
def test_a_header_is_checked_for_what_the_contract_says(name: str, text: str) -> None:
    for value in (
        text,
        text.ljust(header(name)["maxLength"], "x"),
        text.ljust(header(name)["maxLength"] + 1, "x"),
    ):
        request = api.Request(b"", {}, {}, {name.lower(): value}, "request-1", SERVICE)
        allowed = len(value) <= header(name)["maxLength"] and bool(
            re.fullmatch(header(name)["pattern"][1:-1], value)
        )
        if allowed:
            assert value in (request.correlation_id, request.idempotency_key)
        else:
            with pytest.raises(RequestInvalidError):
                _ = request.correlation_id, request.idempotency_key


def test_as_many_tags_may_be_sent_as_the_contract_says() -> None:
    assert header(api.TAGS_HEADER)["maxLength"] == api.MAX_TAGS
