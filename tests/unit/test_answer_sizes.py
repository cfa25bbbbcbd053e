"""No response comes near the 6 MB limit, beyond which Lambda drops it, even if the request had effect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from functions.order_api import app as order_api
from order_capture import bootstrap
from order_capture.adapters.serializers import decimal_json
from order_capture.application.ledger.list_balance_history import Entry, HistoryPage
from order_capture.application.ledger.ports import HistoryCursor
from order_capture.application.orders.capture_orders import Captured, CapturedBatch
from order_capture.application.reports.get_reports import ReportPage
from order_capture.domain.events import OrderEventType
from order_capture.domain.ledger import ACCOUNTS, STOCK
from order_capture.domain.order import (
    MAX_ITEMS,
    MAX_QTY,
    MAX_TOTAL,
    MAX_URL,
    CheckResult,
    CheckType,
    DeclineCode,
    Order,
    OrderDetails,
    OrderLine,
    Outcome,
)
from order_capture.domain.reports import AMOUNTS_OF, Metric, Row, RowKey
from order_capture.domain.webhooks import MAX_ATTEMPTS_KEPT, Attempt
from order_capture.entrypoints.http import histories, order_responses, reports, webhook_responses
from order_capture.entrypoints.http.order_requests import MAX_BATCH_BYTES, MAX_ORDERS
from order_capture.entrypoints.http.requests import MAX_PAGE
from tests.support.aws.dynamodb import DynamoDB
from tests.support.factories import NOW, a_commit, api_event, delivery_of, webhook_of
from tests.support.fakes import MemoryPublisher
from tests.support.stores import memory_stores

LIMIT = 6 * 1024 * 1024  # Lambda's limit, for the response as it leaves the function
REFUSAL_LIMIT = 256 * 1024  # our own limit


def size_of(answer: Mapping[str, Any]) -> int:
    """The bytes of a function's response as Lambda's runtime writes it, with the body as a string."""
    return len(json.dumps(answer, ensure_ascii=False).encode())


def size_of_body(body: Mapping[str, Any]) -> int:
    return size_of({"statusCode": 200, "headers": {"x": "y" * 1000}, "body": decimal_json.dumps(body)})


# Responses to invalid requests.

LINE = '{"productId":"pen","qty":1}'
ORDER = f'{{"customerId":"alice","items":[{LINE}],"totalAmount":1}}'
ROOM = MAX_BATCH_BYTES // MAX_ORDERS - 50  # for an order, of the largest batch


def with_names(name: str, room: int) -> str:
    """An object with as many different unknown fields as fit."""
    fields, size, number = [], 60, 0
    while size < room:
        field = f'"{name[: max(0, len(name) - 6)]}{number:06}":0'
        fields.append(field)
        size, number = size + len(field.encode()) + 1, number + 1
    return ORDER[:-1] + "," + ",".join(fields[:-1]) + "}"


WORST_ORDERS = {
    "as many unknown fields as fit": with_names("", ROOM),
    "unknown fields with long names": with_names("x" * 200, ROOM),
    "names of the longest characters": with_names("😀" * 40, ROOM),
    "names that are escaped": with_names(r"\"" * 40, ROOM),
    "names that are escaped twice": with_names(r"\\" * 40, ROOM),
    "names that can not be shown": with_names(r"\u0001\ud800" * 20, ROOM),
    "fifty bad lines": '{"items":[' + ",".join(['{"qty":0,"' + "y" * 60 + '":1}'] * 50) + "]}",
    "fifty lines of nothing": '{"items":[' + ",".join(["{}"] * 50) + "]}",
    "a number": "1",
    "nothing": "{}",
}


@pytest.fixture(autouse=True)
def stores(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = memory_stores(DynamoDB()).orders
    monkeypatch.setattr(bootstrap, "orders", lambda: orders)
    monkeypatch.setattr(bootstrap, "check_publisher", lambda _source: MemoryPublisher())


@pytest.mark.parametrize("policy", ["ACCEPT_VALID", "REJECT_ALL"])
@pytest.mark.parametrize("worst", WORST_ORDERS.values(), ids=WORST_ORDERS.keys())
def test_the_largest_batch_with_the_worst_orders_has_a_small_answer(worst: str, policy: str) -> None:
    body = '{"errorPolicy":"' + policy + '","orders":[' + ",".join([worst] * MAX_ORDERS) + "]}"
    assert len(body.encode()) <= MAX_BATCH_BYTES

    answer = order_api.handler(api_event("POST", "/orders", body), None)

    assert answer["statusCode"] == (202 if policy == "ACCEPT_VALID" else 400)
    assert size_of(answer) < REFUSAL_LIMIT
    sent = json.loads(answer["body"])
    for problem in [each["problem"] for each in sent["orders"]] if "orders" in sent else [sent]:
        assert problem["errors"]
        assert len(problem["errors"]) <= (5 if policy == "ACCEPT_VALID" else 50)


@pytest.mark.parametrize("worst", WORST_ORDERS.values(), ids=WORST_ORDERS.keys())
def test_a_bad_request_names_fifty_fields_and_counts_the_others(worst: str) -> None:
    answer = order_api.handler(api_event("POST", "/order", worst), None)

    problem = json.loads(answer["body"])
    assert size_of(answer) < REFUSAL_LIMIT
    assert len(problem["errors"]) <= 50
    if worst is WORST_ORDERS["as many unknown fields as fit"]:
        fields = json.loads(worst).keys() - {"customerId", "items", "totalAmount"}
        assert len(problem["errors"]) + problem["moreErrors"] == len(fields)
        assert problem["detail"].endswith(f"; and {len(fields) - 5} more")
    if worst is WORST_ORDERS["nothing"]:
        assert "moreErrors" not in problem


def test_a_request_with_very_many_parameters_has_a_small_answer() -> None:
    query = {f"parameter-{number}": ["1"] for number in range(5000)}

    answer = order_api.handler(api_event("GET", "/orders", query=query), None)

    assert len(json.loads(answer["body"])["errors"]) == 50
    assert size_of(answer) < REFUSAL_LIMIT


# The largest possible responses to valid requests.

ID, CORRELATION_ID = "x" * 64, "c" * 128
URL = "https://shop.example.com/".ljust(MAX_URL, '"')


def largest_order() -> Order:
    """An order that was declined by both checks, with all its texts."""
    items = tuple(OrderLine(f"{number:064}", MAX_QTY) for number in range(MAX_ITEMS))
    order = Order.place(
        OrderDetails(ID, ID, items, MAX_TOTAL),
        now=NOW,
        correlation_id=CORRELATION_ID,
        fingerprint="",
        callback_url=URL,
    )
    for check, kind in ((CheckType.BALANCE, ACCOUNTS), (CheckType.STOCK, STOCK)):
        code = DeclineCode.INSUFFICIENT_BALANCE
        order = order.record_check(
            check, CheckResult(Outcome.DECLINED, kind.max_balance, ID, code, kind.max_balance), now=NOW
        )
    return order


def test_the_largest_batch_has_an_answer_that_fits() -> None:
    answers = [Captured(largest_order(), replayed=False)] * MAX_ORDERS
    assert size_of_body(order_responses.batch_view(CapturedBatch(answers, replayed=False))) < LIMIT / 4


def test_the_largest_page_of_orders_fits() -> None:
    orders = [order_responses.order_view(largest_order())] * MAX_PAGE
    assert size_of_body({"orders": orders}) < LIMIT / 4


def test_the_largest_page_of_a_history_fits() -> None:
    commit = a_commit(ID, *(f"{number:064}" for number in range(99)))
    # Each page has this number of entries, of any commits.
    changes = [commit.changes[number % len(commit.changes)] for number in range(MAX_PAGE)]
    page = HistoryPage([Entry(commit, change, HistoryCursor(NOW, ID, 0)) for change in changes], None)
    assert size_of_body(histories.history_view(ACCOUNTS, "customerId", ID, page)) < LIMIT / 4


def test_the_largest_page_of_deliveries_fits() -> None:
    attempts = (Attempt(NOW, "r" * 500),) * MAX_ATTEMPTS_KEPT
    delivery = replace(delivery_of(webhook_of()), order_id=ID, callback_url=URL, attempts=attempts)
    page = {"deliveries": [webhook_responses.delivery_view(delivery)] * MAX_PAGE}
    assert size_of_body(page) < LIMIT / 2


def test_the_largest_page_of_reports_fits() -> None:
    of_orders = {
        Metric(measure, kind, code): Decimal(10**12)
        for measure in ("orders", "units")
        for kind in OrderEventType
        for code in ([*DeclineCode] if kind is OrderEventType.REJECTED else [None])
    }
    amounts = {Metric("amount", kind): Decimal(10**15) for kind in AMOUNTS_OF}
    first = date(2026, 1, 1)
    rows = [
        Row(
            RowKey((first + timedelta(number // 11)).isoformat(), None if number % 11 == 0 else ID),
            of_orders | amounts,
        )
        for number in range(reports.MAX_ROWS)
    ]
    assert size_of_body(reports.reports_view(ReportPage(rows, None))) < LIMIT / 4
