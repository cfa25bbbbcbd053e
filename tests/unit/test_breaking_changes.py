"""swagger.yaml breaks no client that was written from the contract on main."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from contracts import http_baseline
from contracts.http_baseline import BASELINE, CONTRACT, breaking_changes, read

Document = dict[str, Any]
Change = Callable[[Document], object]

NOW = read(CONTRACT)


def test_it_breaks_no_client_but_under_another_major_version() -> None:
    old = read(BASELINE)
    if NOW["info"]["version"].split(".")[0] == old["info"]["version"].split(".")[0]:
        assert breaking_changes(old, NOW) == []


def test_the_baseline_has_all_that_it_promises() -> None:
    assert read(BASELINE) == NOW, "swagger.yaml has changed: `make baseline`, and look at the difference"


def order(document: Document) -> Document:
    operation: Document = document["paths"]["/order"]["post"]
    return operation


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def field(document: Document, name: str, of: str) -> Document:
    found: Document = schema(document, name)["properties"][of]
    return found


def parameter(document: Document, name: str, of: str = "/orders") -> Document:
    found: Document = next(
        each for each in document["paths"][of]["get"]["parameters"] if each.get("name") == name
    )
    return found


BREAKING: dict[str, tuple[Change, str]] = {
    "a route less": (lambda new: new["paths"].pop("/stock"), "POST /stock is gone"),
    "a method less": (
        lambda new: new["paths"]["/orders"].pop("get"),
        "GET /orders is gone",
    ),
    "a parameter less": (
        lambda new: new["paths"]["/orders"]["get"]["parameters"].remove(parameter(new, "status")),
        "GET /orders request query status is gone",
    ),
    "a parameter more that is required": (
        lambda new: new["paths"]["/orders"]["get"]["parameters"].append(
            {"name": "tenant", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        "GET /orders request query tenant is new and required",
    ),
    "a parameter that has become required": (
        lambda new: parameter(new, "limit").update(required=True),
        "GET /orders request query limit: required None → True",
    ),
    "another default": (
        lambda new: parameter(new, "limit")["schema"].update(default=50),
        "GET /orders request query limit: default 20 → 50",
    ),
    "a field of a request less": (
        lambda new: schema(new, "NewOrders")["properties"].pop("errorPolicy"),
        "POST /orders request body application/json errorPolicy is gone",
    ),
    "a field of a request more that is required": (
        lambda new: (
            schema(new, "OrderLine")["properties"].update(price={"type": "number"}),
            schema(new, "OrderLine")["required"].append("price"),
        ),
        "POST /order request body application/json items[] price is new and required",
    ),
    "a field of a request that has become required": (
        lambda new: schema(new, "StockChange")["required"].append("balance"),
        "POST /stock request body application/json balance: required None → True",
    ),
    "a larger minimum": (
        lambda new: field(new, "OrderLine", "qty").update(minimum=2),
        "POST /order request body application/json items[] qty: minimum 1 → 2",
    ),
    "a smaller maximum": (
        lambda new: field(new, "NewOrder", "items").update(maxItems=10),
        "POST /order request body application/json items: maxItems 50 → 10",
    ),
    "another pattern": (
        lambda new: schema(new, "ProductId").update(pattern="^[a-z]+$"),
        "POST /stock request body application/json productId: pattern "
        "^[.]*[A-Za-z0-9_:@+~-][A-Za-z0-9._:@+~-]*$ → ^[a-z]+$",
    ),
    "a value less that may be sent": (
        lambda new: field(new, "NewOrders", "errorPolicy").update(enum=["ACCEPT_VALID"]),
        "POST /orders request body application/json errorPolicy: enum",
    ),
    "a number that must be whole": (
        lambda new: field(new, "NewOrder", "totalAmount").update(type="integer"),
        "POST /order request body application/json totalAmount: type number → integer",
    ),
    "another type": (
        lambda new: field(new, "OrderLine", "qty").update(type="string"),
        "POST /order request body application/json items[] qty: type integer → string",
    ),
    "a body where there was none": (
        lambda new: new["paths"]["/order/{orderId}/cancel"]["post"].update(
            requestBody=order(new)["requestBody"]
        ),
        "POST /order/{orderId}/cancel request body is new and required",
    ),
    "another type of body": (
        lambda new: order(new)["requestBody"].update(content={"text/csv": {"schema": {"type": "string"}}}),
        "POST /order request body application/json is gone",
    ),
    "a token": (
        lambda new: order(new).update(security=[{"accessToken": ["orders/write", "orders/audit"]}]),
        "POST /order request token: enum",
    ),
    "a status less": (
        lambda new: order(new)["responses"].pop("422"),
        "POST /order response 422 is gone",
    ),
    "a header of an answer less": (
        lambda new: order(new)["responses"]["202"]["headers"].pop("Location"),
        "POST /order response 202 Location is gone",
    ),
    "another type of answer": (
        lambda new: new["components"]["responses"]["BadRequest"].update(
            content={"text/plain": {"schema": {}}}
        ),
        "POST /order response 400 application/problem+json is gone",
    ),
    "a field of an answer less": (
        lambda new: schema(new, "Order")["properties"].pop("correlationId"),
        "POST /order response 202 application/json correlationId is gone",
    ),
    "a field that an answer may leave out": (
        lambda new: schema(new, "Order")["required"].remove("checks"),
        "POST /order response 202 application/json checks: required True → None",
    ),
    "a field of an answer that may be null": (
        lambda new: field(new, "Order", "totalAmount").update(nullable=True),
        "POST /order response 202 application/json totalAmount: nullable None → True",
    ),
    "a value more that may be answered": (
        lambda new: schema(new, "Status")["enum"].append("LOST"),
        "POST /order response 202 application/json status: enum",
    ),
    "a number of an answer that need not be whole": (
        lambda new: field(new, "Stock", "balance").update(type="number"),
        "GET /stock/{productId} response 200 application/json balance: type integer → number",
    ),
    "a bound of an answer less": (
        lambda new: field(new, "Stock", "balance").pop("minimum"),
        "GET /stock/{productId} response 200 application/json balance: minimum 0 → None",
    ),
}


@pytest.mark.parametrize(("change", "found"), BREAKING.values(), ids=BREAKING)
def test_what_breaks_a_client_is_noticed(change: Change, found: str) -> None:
    new = deepcopy(NOW)
    change(new)
    assert [each for each in breaking_changes(NOW, new) if each.startswith(found)]


HARMLESS: dict[str, Change] = {
    "nothing": lambda new: None,
    "a route more": lambda new: new["paths"].update({"/orders2": new["paths"]["/orders"]}),
    "a parameter more": lambda new: new["paths"]["/orders"]["get"]["parameters"].append(
        {"name": "sort", "in": "query", "schema": {"type": "string"}}
    ),
    "a field of a request more": lambda new: schema(new, "NewOrder")["properties"].update(
        gift={"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}}
    ),
    "a field that a request may leave out": lambda new: schema(new, "NewOrder")["required"].remove(
        "totalAmount"
    ),
    "a smaller minimum of what is sent": lambda new: field(new, "NewOrder", "items").update(minItems=0),
    "a value more that may be sent": lambda new: field(new, "NewOrders", "errorPolicy")["enum"].append("ASK"),
    "a body of another type as well": lambda new: order(new)["requestBody"]["content"].update(
        {"text/csv": {"schema": {"type": "string"}}}
    ),
    "a number that need not be whole": lambda new: field(new, "StockChange", "adjust").update(type="number"),
    "a status more": lambda new: order(new)["responses"].update({"418": {"description": "A teapot."}}),
    "a header of an answer more": lambda new: order(new)["responses"]["202"]["headers"].update(
        {"ETag": {"schema": {"type": "string"}}}
    ),
    "a field of an answer more": lambda new: schema(new, "Problem")["properties"].update(
        {"instance": {"type": "string"}}
    ),
    "a field that an answer always has": lambda new: schema(new, "Problem")["required"].append("detail"),
    "a bound of an answer more": lambda new: field(new, "Stock", "settled").update(maximum=10**9),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_breaks_no_client_is_not_held_up(change: Change) -> None:
    new = deepcopy(NOW)
    change(new)
    assert breaking_changes(NOW, new) == []


def test_an_operation_that_needs_no_token_any_more_breaks_no_client() -> None:
    old, new = deepcopy(NOW), deepcopy(NOW)
    order(old)["security"], order(new)["security"] = [{"accessToken": ["orders/write"]}], []
    assert breaking_changes(old, new) == []


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """swagger.yaml and its baseline, elsewhere; with a field of the answers gone from the first."""
    changed = tmp_path / "swagger.yaml"
    changed.write_text(
        CONTRACT.read_text(encoding="utf-8").replace("        logs:\n", "        log:\n"), "utf-8"
    )
    baseline = tmp_path / "baseline.yaml"
    baseline.write_bytes(BASELINE.read_bytes())
    monkeypatch.setattr(http_baseline, "CONTRACT", changed)
    monkeypatch.setattr(http_baseline, "BASELINE", baseline)
    monkeypatch.setattr(http_baseline, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["contract"])
    return changed


def test_the_baseline_takes_no_change_that_breaks_clients(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert http_baseline.main() == 1
    assert read(http_baseline.BASELINE) == NOW
    assert "POST /order response 202 application/json logs is gone" in capsys.readouterr().out


def test_but_under_another_major_version_it_does(files: Path) -> None:
    major = NOW["info"]["version"].partition(".")[0]
    newer = files.read_text("utf-8").replace(f'version: "{major}.', f'version: "{int(major) + 1}.')
    files.write_text(newer, "utf-8")
    assert http_baseline.main() == 0
    assert read(http_baseline.BASELINE) == read(files)
