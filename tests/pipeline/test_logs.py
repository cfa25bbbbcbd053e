"""No function's log at DEBUG names a customer, while orders ship, are rejected and fail."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from tests.support import pipeline
from tests.support.factories import body_of, check, details_of
from tests.support.logs import fresh_logging
from tests.support.shop import Shop, order_of
from tests.support.template import load_template

NAMES = {"carol-of-the-logs": 31337, "dave-of-the-logs": 7}
PRODUCTS = {"pen-of-the-logs": 41, "ink-of-the-logs": 43}
SECRETS = (
    "carol-of-the-logs",
    "dave-of-the-logs",
    "pen-of-the-logs",
    "ink-of-the-logs",
    "receiver-of-the-logs",
)
AMOUNTS = ("31337", "1234.56", "77777")
CREDENTIALS = (
    "session-token-of-the-logs",
    "x-amz-security-token",
    "aws4-hmac-sha256",
    "authorization",
    "whsec_",
)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All lines of all loggers, with a runtime that passes DEBUG."""
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setitem(pipeline.AWS_SETTINGS, "AWS_SESSION_TOKEN", "session-token-of-the-logs")
    load_template()  # is logged by what reads it, which no function does
    with fresh_logging() as text:
        yield text


def test_no_log_names_a_customer_a_product_an_amount_or_a_secret(log: io.StringIO, shop: Shop) -> None:
    # given
    carol, dave = NAMES
    pen, ink = PRODUCTS
    shop.open(NAMES, PRODUCTS)
    ask = shop.pipeline.ask
    ask("POST", "/webhooks", {"customerId": carol, "url": "https://receiver-of-the-logs.example/"})
    # when: orders ship and are rejected; requests are invalid, messages unreadable, AWS calls refused
    shop.order(order_of(carol, 1234.56, **{pen: 1, ink: 2}))
    shop.order(order_of(dave, 77777, **{pen: 1}))
    shop.order(order_of(carol, 1, **{"nothing-of-the-logs": 1}))
    shop.pipeline.run()
    for path in (
        f"/account/{carol}",
        f"/account/{carol}/history",
        f"/webhooks?customerId={carol}",
        "/orders",
    ):
        ask("GET", path)
    ask("POST", "/order", {"customerId": carol, "items": "1234.56"})
    shop.pipeline.put("balance_checker", body_of(check(details_of("order-1", carol))).replace("10.00", '"x"'))
    shop.pipeline.run()
    with shop.pipeline.refusing("dynamodb.TransactWriteItems", text=carol):
        assert ask("POST", "/account", {"customerId": carol, "balance": 1}).status == 503
    with shop.pipeline.refusing("dynamodb.GetItem", text=carol):
        assert ask("GET", f"/account/{carol}").status == 503
    # then
    text = log.getvalue().lower()
    assert "transactwriteitems" in text, "what AWS does not take is logged"
    found = [each for each in (*SECRETS, *AMOUNTS, *CREDENTIALS) if each in text]
    assert not found, [line for line in text.splitlines() if any(each in line for each in found)][:3]
