"""A sample of every message of this release, written by the functions' own code, at fixed times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import simplejson

from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.application.messages import (
    BalanceState,
    CheckOrder,
    DeliverWebhook,
    OrderChecked,
    OrderEventMessage,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
)
from order_capture.application.messages import Message as DomainMessage
from order_capture.application.ports import SubscriptionTarget
from order_capture.domain.errors import NotFoundError
from order_capture.domain.events import event_of
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance, LedgerSpec
from order_capture.domain.order import (
    CheckResult,
    CheckType,
    DeclineCode,
    Order,
    OrderDetails,
    OrderLine,
    Outcome,
)
from order_capture.entrypoints.websocket import api, messages

CORRELATION_ID = "checkout-7731"
TERMS = OrderDetails(
    "9bd61222-4d3c-5ee8-982e-149f3123790b", "alice", (OrderLine("espresso-beans", 2),), Decimal("25.50")
)
SEVERAL = OrderDetails(
    "5655db37-7c55-4f55-94bd-aa63f3bed86b",
    "bob",
    (OrderLine("grinder", 1), OrderLine("mug", 4), OrderLine("mug", 2)),
    Decimal("449.00"),
)
PRICED = OrderDetails(
    "c8a1c2f5-5a5f-4f8e-9d43-2f3d6c1d7a90",
    "carol",
    (OrderLine("gold-bar", 1, Decimal("0.00")),),
    Decimal("0.00"),
)

_PAID = CheckResult(Outcome.HELD, Decimal("25.50"), "alice")
_IN_STOCK = CheckResult(Outcome.HELD, Decimal(2), "espresso-beans")
_SEVERAL_IN_STOCK = CheckResult(Outcome.HELD, Decimal(7))
_SHORT = CheckResult(
    Outcome.DECLINED, Decimal("449.00"), "bob", DeclineCode.INSUFFICIENT_BALANCE, Decimal("20.00")
)
_UNKNOWN = CheckResult(Outcome.DECLINED, Decimal(7), "grinder", DeclineCode.UNKNOWN_PRODUCT)
_WRONG_PRICE = CheckResult(
    Outcome.DECLINED,
    Decimal(1),
    "gold-bar",
    DeclineCode.PRICE_MISMATCH,
    price=Decimal("499.00"),
    unit_price=Decimal("0.00"),
)
_CLOSED = CheckResult(Outcome.DECLINED, Decimal(7), code=DeclineCode.ORDER_CLOSED)


def samples() -> dict[tuple[str, str], str]:
    """Every sample, by its message type and name."""
    return _between_functions() | _events() | _states() | _over_a_socket()


def readable(text: str) -> str:
    """Indented JSON, with numbers unchanged."""
    return simplejson.dumps(decimal_json.loads(text), use_decimal=True, ensure_ascii=False, indent=2) + "\n"


def _time(milliseconds: int) -> str:
    return f"2026-11-20T10:00:00.{milliseconds:03}Z"


def _body(message: DomainMessage | BalanceState, function: str, milliseconds: int) -> str:
    return envelopes.encode(
        message,
        message_id="b6a1f3c2-0d4e-4f5a-8b6c-7d8e9fa0b1c2",
        source=f"/order-capture/{function}",
        time=_time(milliseconds),
    ).body


def _between_functions() -> dict[tuple[str, str], str]:
    def answer(function: str, terms: OrderDetails, check: CheckType, decision: CheckResult) -> str:
        return _body(OrderChecked.of(terms.order_id, check, decision, CORRELATION_ID), function, 203)

    delivery = DeliverWebhook(
        webhook_id="alice.3f2c8a546f0e4c1b9a532d1f7b8f4e10",
        delivery_id="019a9c0e7b7b4f1d2c3b5a69788796a5",
        order_id=TERMS.order_id,
        correlation_id=CORRELATION_ID,
        attempt_series=1,
    )
    return {
        ("order.check", "one-product"): _body(CheckOrder.of(TERMS, CORRELATION_ID), "order_api", 138),
        ("order.check", "several-products"): _body(CheckOrder.of(SEVERAL, CORRELATION_ID), "order_api", 138),
        ("order.check", "at-a-price"): _body(CheckOrder.of(PRICED, CORRELATION_ID), "order_api", 138),
        ("order.release", "one-product"): _body(ReleaseOrder.of(TERMS, CORRELATION_ID), "order_update", 293),
        ("order.ship", "one-product"): _body(ShipOrder.of(TERMS, CORRELATION_ID), "order_update", 293),
        ("order.checked", "paid"): answer("balance_checker", TERMS, CheckType.BALANCE, _PAID),
        ("order.checked", "several-in-stock"): answer(
            "stock_checker", SEVERAL, CheckType.STOCK, _SEVERAL_IN_STOCK
        ),
        ("order.checked", "short"): answer("balance_checker", SEVERAL, CheckType.BALANCE, _SHORT),
        ("order.checked", "unknown"): answer("stock_checker", SEVERAL, CheckType.STOCK, _UNKNOWN),
        ("order.checked", "wrong-price"): answer("stock_checker", PRICED, CheckType.STOCK, _WRONG_PRICE),
        ("order.checked", "closed"): answer("stock_checker", SEVERAL, CheckType.STOCK, _CLOSED),
        ("order.watch", "new"): _body(
            WatchOrder.of(TERMS.order_id, CORRELATION_ID, delay=60), "change_publisher", 310
        ),
        ("webhook.deliver", "replayed"): _body(delivery, "webhook_api", 640),
    }


def _events() -> dict[tuple[str, str], str]:
    """The events of some orders, for each status change."""

    def placed(terms: OrderDetails) -> Order:
        return Order.place(terms, now=_time(123), correlation_id=CORRELATION_ID, fingerprint="")

    def decided(order: Order, *answers: tuple[CheckType, CheckResult]) -> Order:
        for check, decision in answers:
            order = order.record_check(check, decision, now=_time(243))
        return order

    both = (CheckType.BALANCE, _PAID), (CheckType.STOCK, _IN_STOCK)
    one, several, at_a_price = placed(TERMS), placed(SEVERAL), placed(PRICED)
    confirmed = decided(one, *both)
    called_back = replace(several, callback_url="https://shop.example.com/hooks/orders?of=bob")
    shipped = confirmed.ship(now=_time(312))
    happened = {
        "placed": (None, one),
        "placed-with-callback": (None, called_back),
        "confirmed": (one, confirmed),
        "rejected": (several, decided(several, (CheckType.BALANCE, _SHORT))),
        "rejected-for-its-price": (at_a_price, decided(at_a_price, (CheckType.STOCK, _WRONG_PRICE))),
        "shipped": (confirmed, shipped),
        "cancelled": (one, one.cancel(now=_time(180))),
        "withdrawn": (one, one.withdraw(now=_time(180))),
        "expired": (one, one.expire(now=_time(900))),
    }
    bodies = {}
    for name, (before, after) in happened.items():
        event = event_of(before, after)
        if event is None:
            raise ValueError(f"nothing has happened: {name}")
        bodies[str(event.type), name] = _body(OrderEventMessage(event), "change_publisher", 999)
    return bodies


def _states() -> dict[tuple[str, str], str]:
    """The states of a customer and a product, existing and deleted."""

    def state(kind: LedgerSpec, entity: str, head: Balance) -> str:
        return _body(BalanceState(kind, entity, head), "ledger_publisher", 999)

    money = Balance(Decimal(69), Decimal("25.50"), Decimal("405.50"), version=7, update_time=_time(243))
    units = Balance(Decimal(38), Decimal(2), Decimal(0), version=3, update_time=_time(243))
    priced = replace(units, price=Decimal("12.75"))
    gone = Balance(Decimal(0), settled=Decimal(12), version=9, update_time=_time(500), deleted=True)
    return {
        ("account.state", "open"): state(ACCOUNTS, "alice", money),
        ("account.state", "deleted"): state(ACCOUNTS, "carol", gone),
        ("stock.state", "open"): state(STOCK, "espresso-beans", units),
        ("stock.state", "priced"): state(STOCK, "espresso-beans", priced),
        ("stock.state", "deleted"): state(STOCK, "grinder", gone),
    }


def _over_a_socket() -> dict[tuple[str, str], str]:
    ask_order = json.dumps({"action": "subscribe", "orderId": TERMS.order_id})
    ask_all = json.dumps({"action": "subscribe", "all": True})
    ask_customer = json.dumps({"action": "subscribe", "customerId": "alice"})
    order = Order.place(TERMS, now=_time(123), correlation_id=CORRELATION_ID, fingerprint="")

    def listen(frame: api.Frame) -> Mapping[str, Any]:
        what = messages.wanted(frame.text)
        if what == SubscriptionTarget.customer("bob"):
            raise NotFoundError("There is no such customer.")
        return messages.subscribed(what, order if what.kind == "order" else None)

    def reply_to(text: str) -> str:
        context = {
            "connectionId": "Wq3uLdZZoAMCJhA=",
            "requestId": "Wq3uLFZ0oAMF1Jw=",
            "authorizer": {"sub": "0b7e6a52", "token_use": "access", "username": "alice"},  # nosec B105 # a claim
        }
        return decimal_json.dumps(api.answer_to({"requestContext": context, "body": text}, listen))

    return {
        ("socket.subscribe", "order"): ask_order,
        ("socket.subscribe", "customer"): ask_customer,
        ("socket.subscribe", "all"): ask_all,
        ("socket.subscribed", "order"): reply_to(ask_order),
        ("socket.subscribed", "customer"): reply_to(ask_customer),
        ("socket.subscribed", "all"): reply_to(ask_all),
        ("socket.problem", "not-found"): reply_to(ask_customer.replace("alice", "bob")),
        ("socket.problem", "invalid"): reply_to('{"action": "subscribe"}'),
    }
