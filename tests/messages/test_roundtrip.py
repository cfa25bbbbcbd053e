"""The functions' messages follow the committed schemas, and the functions read all that these allow.

The functions do not use the schemas: these tests keep the two consistent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.registry import CHANNELS, REFUSED, SUBSCRIBE, SUBSCRIBED, Message
from order_capture.adapters.messaging import envelopes
from order_capture.adapters.messaging.publishers import MAX_DELAY_SECONDS
from order_capture.adapters.serializers import decimal_json
from order_capture.application import messages
from order_capture.application.ports import SubscriptionTarget
from order_capture.domain.errors import NotFoundError, SubscriptionLimitError, TransientError
from order_capture.domain.events import OrderEventType, event_of
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance, LedgerSpec
from order_capture.domain.order import (
    ID_PATTERN,
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
    OrderStatus,
    Outcome,
)
from order_capture.domain.times import format_utc
from order_capture.domain.webhooks import webhook_id_of
from order_capture.entrypoints.http.problems import RequestInvalidError
from order_capture.entrypoints.http.urls import URL_PATTERN
from order_capture.entrypoints.websocket import api
from order_capture.entrypoints.websocket import messages as sockets
from tests.support.contracts import READ_AS, faults, texts_of
from tests.support.factories import socket_event

# The same examples in every run, so that failures are reproducible.
EXAMPLES = settings(max_examples=60, derandomize=True, deadline=None, database=None)
# For examples generated from a schema, which take longer.
FEWER_EXAMPLES = settings(EXAMPLES, max_examples=25)

# Strategies that follow the business rules.

ids = st.from_regex(ID_PATTERN, fullmatch=True)
times = st.integers(0, 4 * 10**12).map(lambda each: format_utc(datetime.fromtimestamp(each / 1000, UTC)))
addresses = st.from_regex(URL_PATTERN, fullmatch=True).filter(lambda url: len(url) <= MAX_URL)
correlation_ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128)
prices = st.decimals(0, MAX_TOTAL, places=2)
lines = st.builds(OrderLine, ids, st.integers(1, MAX_QTY), st.none() | prices)
details = st.builds(
    OrderDetails,
    ids,
    ids,
    st.lists(lines, min_size=1, max_size=MAX_ITEMS).map(tuple),
    prices,
)


def amounts_of(kind: LedgerSpec) -> st.SearchStrategy[Decimal]:
    """Money, or units."""
    return st.decimals(0, kind.max_balance, places=-int(kind.quantum.as_tuple().exponent))


@st.composite
def decisions(draw: st.DrawFn, check: CheckType, outcome: Outcome) -> CheckResult:
    """The result of a check, for one customer or product or several."""
    kind = ACCOUNTS if check is CheckType.BALANCE else STOCK
    amounts = amounts_of(kind)
    requested, entity = draw(amounts), draw(st.none() | ids)
    if outcome is Outcome.HELD:
        return CheckResult(outcome, requested, entity)
    code = draw(st.sampled_from(DeclineCode))
    if code is DeclineCode.PRICE_MISMATCH:
        return CheckResult(
            outcome, requested, entity, code, price=draw(prices), unit_price=draw(st.none() | prices)
        )
    available = draw(st.none() | amounts)
    return CheckResult(outcome, requested, entity, code, available)


HELD, DECLINED = Outcome
WAYS = {  # for each status: the check results up to it, in order
    OrderStatus.PENDING: [[], [HELD]],
    OrderStatus.CONFIRMED: [[HELD, HELD]],
    OrderStatus.SHIPPED: [[HELD, HELD]],
    OrderStatus.REJECTED: [[DECLINED], [HELD, DECLINED], [DECLINED, HELD], [DECLINED, DECLINED]],
    OrderStatus.CANCELLED: [[], [HELD], [HELD, HELD]],
    OrderStatus.EXPIRED: [[], [HELD]],
}


OPTIONAL = [each for each in fields(Order) if each.default is not MISSING]


@st.composite
def lives(draw: st.DrawFn, *to: OrderStatus) -> list[Order]:
    """An order after each of its changes, up to one of these statuses, or any."""
    status, now = draw(st.sampled_from(to or tuple(OrderStatus))), draw(times)
    placed = Order.place(
        draw(details),
        now=now,
        correlation_id=draw(correlation_ids),
        fingerprint="print",
        callback_url=draw(st.just("") | addresses),
    )
    life = [replace(placed, in_progress_until=draw(times))]
    answers: zip[tuple[CheckType, Outcome]] = zip(
        draw(st.permutations(list(CheckType))), draw(st.sampled_from(WAYS[status])), strict=False
    )
    for check, outcome in answers:
        life.append(life[-1].record_check(check, draw(decisions(check, outcome)), now=now))
    last = life[-1]
    match status:
        case OrderStatus.SHIPPED:
            life.append(last.ship(now=now))
        case OrderStatus.CANCELLED:
            life.append(last.cancel(now=now))
        case OrderStatus.EXPIRED:
            life.append(last.expire(now=now))
    assert life[-1].status is status
    return life


def happened(life: list[Order]) -> list[messages.OrderEventMessage]:
    """The events of an order."""
    steps = zip([None, *life], life, strict=False)
    return [
        messages.OrderEventMessage(event) for before, after in steps if (event := event_of(before, after))
    ]


commands: st.SearchStrategy[messages.Message] = st.one_of(
    st.builds(messages.CheckOrder.of, details, correlation_ids),
    st.builds(messages.ReleaseOrder.of, details, correlation_ids),
    st.builds(messages.ShipOrder.of, details, correlation_ids),
    st.tuples(st.sampled_from(CheckType), st.sampled_from(Outcome)).flatmap(
        lambda requested: st.builds(
            messages.OrderChecked.of, ids, st.just(requested[0]), decisions(*requested), correlation_ids
        )
    ),
    st.builds(
        messages.WatchOrder.of, ids, correlation_ids, st.integers(1, MAX_DELAY_SECONDS), st.integers(0, 10**6)
    ),
    st.builds(
        messages.DeliverWebhook.build,
        webhook_id=st.builds(webhook_id_of, ids, st.uuids().map(lambda each: each.hex)),
        delivery_id=st.uuids().map(lambda each: each.hex),
        order_id=ids,
        correlation_id=correlation_ids,
        attempt_series=st.integers(0, 10**6),
        delay=st.integers(0, MAX_DELAY_SECONDS),
    ),
)


def heads(kind: LedgerSpec) -> st.SearchStrategy[Balance]:
    """All possible states of a customer or product."""
    amounts = amounts_of(kind)
    price = st.none() | prices if kind is STOCK else st.none()
    return st.builds(
        Balance, amounts, amounts, amounts, st.integers(1, 10**9), times, deleted=st.booleans(), price=price
    )


states = st.sampled_from([ACCOUNTS, STOCK]).flatmap(
    lambda kind: st.builds(messages.BalanceState, st.just(kind), ids, heads(kind))
)


def envelope_of(message: messages.Message | messages.BalanceState, time: str) -> envelopes.Envelope:
    envelope = envelopes.encode(message, message_id="m-1", source="/order-capture/order_api", time=time)
    # The attributes repeat the body's values.
    assert json.loads(envelope.body)["dataschema"] == f"urn:order-capture:{envelope.type}:{envelope.version}"
    return envelope


@EXAMPLES
@given(commands, times)
def test_what_functions_send_to_each_other_is_by_its_schema(message: messages.Message, time: str) -> None:
    envelope = envelope_of(message, time)

    assert faults(envelope.body) == []


@EXAMPLES
@given(states, times)
def test_states_of_accounts_and_stock_are_by_their_schema(state: messages.BalanceState, time: str) -> None:
    assert faults(envelope_of(state, time).body) == []


def test_what_is_published_of_any_order_is_by_its_schema() -> None:
    published: set[OrderEventType] = set()
    varied: set[str] = set()

    def look(life: list[Order], time: str) -> None:
        for event in happened(life):
            body = envelope_of(event, time).body
            assert faults(body) == []
            # The reports parse the log's text, which a schema can't describe.
            assert envelopes.decode_checked(body).order_id == event.event.order.order_id
            published.add(event.event.type)
            varied.update(
                each.name for each in OPTIONAL if getattr(event.event.order, each.name) != each.default
            )

    for status in OrderStatus:
        FEWER_EXAMPLES(given(lives(status), times)(look))()
    assert published == set(OrderEventType), "the examples leave something out"
    assert varied == {each.name for each in OPTIONAL}, "what is in no example may be in no schema"


# Over a WebSocket connection.


def answer_to(text: str, listen: api.OnMessage) -> str:
    return decimal_json.dumps(api.answer_to(socket_event(text), listen))


@EXAMPLES
@given(lives(), ids)
def test_the_answer_to_a_subscription_is_by_its_schema(life: list[Order], customer: str) -> None:
    for order in life:
        answer = decimal_json.dumps(sockets.subscribed(SubscriptionTarget.order(order.order_id), order))
        assert faults(answer, SUBSCRIBED) == []
    assert (
        faults(
            decimal_json.dumps(sockets.subscribed(SubscriptionTarget.customer(customer), None)),
            SUBSCRIBED,
        )
        == []
    )


@FEWER_EXAMPLES
@given(st.text() | texts_of(SUBSCRIBE).map(lambda text: text[:-1] + ',"more":1}'))
def test_the_answer_to_anything_else_is_by_its_schema(text: str) -> None:
    def listen(frame: api.Frame) -> Mapping[str, Any]:
        return sockets.subscribed(sockets.wanted(frame.text), None)

    assert faults(answer_to(text, listen), REFUSED) == []


@pytest.mark.parametrize(
    "error",
    [NotFoundError("No."), SubscriptionLimitError("No."), TransientError("Later."), ValueError("a secret")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_is_reported_by_the_schema(error: Exception) -> None:
    def listen(_: api.Frame) -> Mapping[str, Any]:
        raise error

    assert faults(answer_to("{}", listen), REFUSED) == []


# Messages that are read.


def test_every_message_that_is_sent_to_us_is_read_here() -> None:
    received = {each for way in CHANNELS if way.receivers for each in way.requests or way.messages}
    assert READ_AS.keys() | {SUBSCRIBE} == received


@pytest.mark.parametrize("message", READ_AS, ids=lambda message: message.type)
def test_whatever_a_schema_allows_is_read_whatever_a_later_release_adds(message: Message) -> None:
    @FEWER_EXAMPLES
    @given(texts_of(message))
    def look(text: str) -> None:
        more = json.loads(text) | {"traceparent": "00-1-2-01"}
        more["data"] |= {"giftWrap": {"a": [1]}}
        assert isinstance(envelopes.decode(text), READ_AS[message])
        assert read(json.dumps(more)) == read(text)

    def read(text: str) -> messages.Received:
        decoded = envelopes.decode(text)
        return replace(decoded, body="") if isinstance(decoded, messages.ReceivedOrderEvent) else decoded

    look()


@FEWER_EXAMPLES
@given(texts_of(SUBSCRIBE))
def test_whatever_a_client_may_ask_is_read(text: str) -> None:
    requested = json.loads(text)

    wanted = sockets.wanted(text)

    names = {"order": "orderId", "customer": "customerId", "all": "all"}
    assert requested[names[wanted.kind]] == (wanted.id or True)


@FEWER_EXAMPLES
@given(texts_of(SUBSCRIBE))
def test_what_a_client_asks_beyond_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalidError):
        sockets.wanted(json.dumps(json.loads(text) | {"giftWrap": True}))
