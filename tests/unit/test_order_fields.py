"""Every field that a client sends with an order is kept everywhere that the order is stored or sent."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from order_capture.adapters.dynamodb.order_repository import order_from, to_order_item
from order_capture.domain.order import Order
from order_capture.entrypoints.http import order_requests
from order_capture.entrypoints.http.api import Request
from order_capture.entrypoints.http.order_responses import order_view
from tests.support.factories import NOW, SERVICE, placed

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[str, Any] = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))["components"][
    "schemas"
]
# What an order may be placed with beside its details and what the request itself is known by.
GIVEN = set(inspect.signature(Order.place).parameters) - {"details", "now", "correlation_id", "fingerprint"}
VALUE = "https://shop.example.com/"  # which suits a text and an address


def name_in_json(field: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), field)


NAMES = {field: name_in_json(field) for field in GIVEN}
VALUES: dict[str, Any] = dict.fromkeys(GIVEN, VALUE)
ORDER = replace(placed(), **VALUES)


def test_the_contract_takes_these_fields_and_no_others() -> None:
    details = {"customerId", "items", "totalAmount"}
    assert set(SCHEMAS["NewOrder"]["properties"]) == details | set(NAMES.values())


@pytest.mark.parametrize("field", sorted(GIVEN))
def test_a_request_passes_it_on(field: str) -> None:
    body = {
        "customerId": "alice",
        "items": [{"productId": "pen", "qty": 1}],
        "totalAmount": 1,
        NAMES[field]: VALUE,
    }
    request = Request(json.dumps(body).encode(), {}, {}, {}, "request-1", SERVICE)

    assert getattr(order_requests.new_order(request, lambda: "id-1", NOW), field) == VALUE


def test_they_are_stored_and_read() -> None:
    assert order_from(to_order_item(ORDER)) == ORDER


def test_a_replay_shows_them() -> None:
    assert ORDER.initial_snapshot() == ORDER


@pytest.mark.parametrize("field", sorted(GIVEN))
def test_it_is_shown(field: str) -> None:
    assert order_view(ORDER)[NAMES[field]] == VALUE


@pytest.mark.parametrize("schema", ["Order", "BatchEntry"])
def test_the_contract_has_all_that_is_shown(schema: str) -> None:
    assert order_view(ORDER).keys() <= SCHEMAS[schema]["properties"].keys()
