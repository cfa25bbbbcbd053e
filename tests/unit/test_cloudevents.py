"""Messages in their envelopes: written ones can be read, all others are refused."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from contracts.samples import samples
from order_capture.adapters.messaging import envelopes
from order_capture.application.messages import (
    BalanceState,
    Message,
    OrderChecked,
    OrderEventMessage,
    ReceivedOrderEvent,
)
from order_capture.domain.errors import InvalidMessageError
from order_capture.domain.events import OrderEvent, event_of
from order_capture.domain.ledger import ACCOUNTS, STOCK, Balance
from order_capture.domain.order import CheckResult, CheckType, DeclineCode, OrderStatus, Outcome
from order_capture.domain.order_log import log_lines
from tests.support.factories import (
    NOW,
    body_of,
    check,
    checked,
    declined,
    details_of,
    placed,
    release,
    ship,
    watch,
    wrong_price,
)

SEVERAL = details_of("order-7", items=(("pen", 2), ("ink", 1), ("pen", 3)), total="0.10")


@pytest.mark.parametrize(
    "message",
    [
        check(SEVERAL),
        release(SEVERAL),
        ship(SEVERAL),
        checked(),
        checked(CheckType.STOCK, CheckResult(Outcome.HELD, Decimal(3), None)),
        checked(CheckType.BALANCE, declined(requested="25.50", available="0.10")),
        checked(CheckType.STOCK, declined(DeclineCode.UNKNOWN_PRODUCT, "3", None, "pen")),
        checked(CheckType.STOCK, CheckResult(Outcome.DECLINED, Decimal(3), code=DeclineCode.ORDER_CLOSED)),
        checked(CheckType.STOCK, wrong_price("499.00", "0.10")),
        checked(CheckType.STOCK, wrong_price("499.00", None)),
    ],
)
def test_what_is_written_is_read(message: Message) -> None:
    assert envelopes.decode(body_of(message)) == message


def test_an_envelope_says_all_that_cloudevents_asks_for() -> None:
    envelope = envelopes.encode(
        check(details_of(total="25.50")), message_id="m-1", source="/order-capture/order_api", time=NOW
    )

    assert (envelope.type, envelope.version) == ("order.check", "1")
    assert json.loads(envelope.body, parse_float=Decimal) == {
        "specversion": "1.0",
        "id": "m-1",
        "source": "/order-capture/order_api",
        "type": "order.check",
        "time": NOW,
        "subject": "order-1",
        "datacontenttype": "application/json",
        "dataschema": "urn:order-capture:order.check:1",
        "correlationid": "corr-1",
        "data": {
            "orderId": "order-1",
            "customerId": "alice",
            "totalAmount": Decimal("25.50"),
            "items": [{"productId": "pen", "qty": 1}],
        },
    }
    assert '"totalAmount":25.50' in envelope.body


def test_an_answer_says_what_was_asked_of_whom_and_what_there_was() -> None:
    message = OrderChecked.of(
        "order-1", CheckType.BALANCE, declined(requested="25.50", available="3.00"), "corr-1"
    )

    event = json.loads(body_of(message), parse_float=str)

    assert event["data"] == {
        "orderId": "order-1",
        "check": "BALANCE",
        "outcome": "DECLINED",
        "code": "INSUFFICIENT_BALANCE",
        "id": "alice",
        "asked": "25.50",
        "available": "3.00",
    }


def event_body(event: OrderEvent, **more: str) -> dict[str, Any]:
    envelope = envelopes.encode(
        OrderEventMessage(event), **{"message_id": "m-1", "source": "/order-capture/test", "time": NOW} | more
    )
    assert (envelope.type, envelope.version) == (event.type, "1")
    body: dict[str, Any] = json.loads(envelope.body, parse_float=str)
    return body


def test_an_event_has_the_whole_order_and_its_place_in_the_orders_life() -> None:
    rejected = placed(SEVERAL).record_check(CheckType.STOCK, declined(), now="2026-11-20T10:00:09.000Z")
    before = placed(SEVERAL)
    event = event_of(before, rejected)
    assert event is not None

    body = event_body(event)

    assert (body["type"], body["sequence"], body["subject"]) == ("order.rejected", "2", "order-7")
    assert body["time"] == "2026-11-20T10:00:09.000Z"
    assert body["dataschema"] == "urn:order-capture:order.rejected:1"
    assert body["data"]["status"] == "REJECTED"
    assert body["data"]["totalAmount"] == "0.10"
    assert body["data"]["checks"]["stock"]["code"] == "INSUFFICIENT_BALANCE"
    assert body["data"]["logs"] == log_lines(rejected)


@pytest.mark.parametrize("url", ["", "https://a.example/"])
def test_who_passes_an_event_on_sees_where_its_order_wants_it(url: str) -> None:
    event = event_of(None, replace(placed(), callback_url=url))
    assert event is not None
    body = envelopes.encode(
        OrderEventMessage(event), message_id="m-1", source="/order-capture/test", time=NOW
    ).body

    news = envelopes.decode(body)

    assert isinstance(news, ReceivedOrderEvent)
    assert (news.callback_url, news.body) == (url, body)
    assert json.loads(body)["data"].get("callbackUrl", "") == url


def test_an_event_that_is_published_again_is_the_same_one() -> None:
    event = event_of(None, placed())
    other = event_of(None, placed(details_of("order-2")))
    assert event is not None
    assert other is not None

    again = event_body(event, message_id="m-2", time="2026-11-21T10:00:00.000Z")

    assert event_body(event) == again
    assert event_body(other)["id"] != again["id"]


def changed(message: Message, **fields: Any) -> str:
    return json.dumps(json.loads(body_of(message)) | fields)


def with_data(message: Message, **fields: Any) -> str:
    event = json.loads(body_of(message))
    return json.dumps(event | {"data": event["data"] | fields})


def without(message: Message, name: str) -> str:
    return json.dumps({key: value for key, value in json.loads(body_of(message)).items() if key != name})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "not json",
        "null",
        "1",
        "[]",
        "{}",
        '"order.check"',
        "[" * 100_000,
        '{"a":1,"a":2}',
        changed(check(), type="order.dance", dataschema="urn:order-capture:order.dance:1"),
        changed(check(), type=None),
        changed(check(), type={"a": 1}),
        changed(check(), dataschema="urn:order-capture:order.check:2"),
        changed(check(), dataschema="urn:order-capture:order.ship:1"),
        changed(check(), specversion="0.3"),
        changed(check(), data=None),
        changed(check(), data=[]),
        *(without(check(), name) for name in ("specversion", "type", "dataschema", "correlationid", "data")),
        with_data(check(), items=[]),
        with_data(check(), items=None),
        with_data(check(), items=["pen"]),
        with_data(check(), items=[{"productId": "pen", "qty": 0}]),
        with_data(check(), items=[{"productId": "pen", "qty": 1.5}]),
        with_data(check(), items=[{"productId": "pen", "qty": "1"}]),
        with_data(check(), items=[{"productId": 7, "qty": 1}]),
        with_data(check(), items=[{"productId": "pen", "qty": float("inf")}]),
        with_data(check(), items=[{"productId": "pen", "qty": 1}] * 51),
        with_data(check(), items=[{"productId": "pen", "qty": 1, "unitPrice": -1}]),
        with_data(check(), items=[{"productId": "pen", "qty": 1, "unitPrice": "much"}]),
        with_data(check(), items=[{"productId": "pen", "qty": 1, "unitPrice": float("nan")}]),
        with_data(check(), customerId=None),
        with_data(check(), orderId=""),
        with_data(check(), totalAmount=-1),
        with_data(check(), totalAmount=float("nan")),
        with_data(check(), totalAmount=float("inf")),
        with_data(check(), totalAmount="many"),
        with_data(check(), orderId="order#1"),
        with_data(check(), items=[{"productId": "a b", "qty": 1}]),
        with_data(check(), items=[{"productId": "pen", "qty": 100_001}]),
        with_data(check(), totalAmount=10**9),
        with_data(watch(), delay=-1),
        with_data(watch(), looks=0.5),
        changed(check(), time="yesterday"),
        changed(check(), time="2026-11-20T10:00:60.000Z"),
        with_data(checked(), check="WEATHER"),
        with_data(checked(), outcome="PERHAPS"),
        with_data(checked(), code=7),
        with_data(checked(), code=["BAD_LUCK"]),
        with_data(checked(), price="much"),
        with_data(checked(), unitPrice="much"),
        with_data(checked(), asked="many"),
        with_data(checked(), asked=None),
        with_data(checked(), available=[]),
    ],
    ids=lambda body: body[-60:],
)
def test_what_is_not_ours_is_refused(body: str) -> None:
    with pytest.raises(InvalidMessageError):
        envelopes.decode(body)


SAMPLES = {
    f"{kind}.{name}": json.loads(text)
    for (kind, name), text in samples().items()
    if not kind.startswith(("socket.", "account.", "stock."))  # which none of our functions reads
}
OF_EACH_TYPE: dict[type, Any] = {
    type(None): None, bool: True, int: 7, str: "x", list: [], dict: {}
}  # fmt: skip
# Null if a check has no text, or was not made yet.
MAY_BE_NULL = {"id", "code", "available", "balance", "stock"}


def places(node: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values in a message's data."""
    if place:
        yield place
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, each in entries:
        yield from places(each, (*place, key))


def value_at(node: Any, place: Sequence[str | int]) -> Any:
    return functools.reduce(lambda inner, key: inner[key], place, node)


def with_value(message: dict[str, Any], place: Sequence[str | int], value: Any) -> str:
    changed: Any = copy.deepcopy(message)
    value_at(changed, place[:-1])[place[-1]] = value
    return json.dumps(changed)


def type_of(value: Any) -> type:
    """The JSON type of a value: JSON has one type of numbers."""
    return int if type(value) is float else type(value)


@pytest.mark.parametrize(
    ("sample", "place"),
    [
        pytest.param(sample, place, id=f"{name} {'.'.join(map(str, place))}")
        for name, sample in SAMPLES.items()
        for place in places(sample)
    ],
)
def test_a_value_of_another_type_is_never_taken_for_one(
    sample: dict[str, Any], place: tuple[str | int, ...]
) -> None:
    envelopes.decode(json.dumps(sample))
    now = value_at(sample, place)
    for kind, other in OF_EACH_TYPE.items():
        is_nullable = place[-1] in MAY_BE_NULL or (place[-1] == "unitPrice" and "items" not in place)
        if kind is type_of(now) or (other is None and is_nullable) or now is None:
            continue
        with pytest.raises(InvalidMessageError):
            envelopes.decode(with_value(sample, place, other))


@pytest.mark.parametrize(
    "number", ["1e100000000", "-1e100000000", "1e-100000000", "NaN", "Infinity", "9" * 31, "1e9"]
)
def test_no_number_costs_more_to_refuse_than_it_is_long(number: str) -> None:
    for sample in SAMPLES.values():
        for place in places(sample):
            if type(value_at(sample, place)) in (int, float):
                body = with_value(sample, place, "NUMBER").replace('"NUMBER"', number)
                if number == "1e9" and place[-1] != "qty":
                    continue  # which may be a number of seconds, or an amount
                with pytest.raises(InvalidMessageError):
                    envelopes.decode(body)


@pytest.mark.parametrize("requested", ["2.55E+1", "25.5", "25.50", "25.500"])
def test_an_amount_is_logged_with_the_decimals_of_its_ledger_however_it_came(requested: str) -> None:
    body = with_data(checked(CheckType.BALANCE, declined(requested="7.00", available="3.00")), asked="ASKED")

    message = envelopes.decode(body.replace('"ASKED"', requested))

    assert isinstance(message, OrderChecked)
    assert "asked 25.50, available 3.00" in str(message.decision)


def test_units_are_logged_without_decimals_however_they_came() -> None:
    body = with_data(checked(CheckType.STOCK, CheckResult(Outcome.HELD, Decimal(3))), asked="ASKED")

    message = envelopes.decode(body.replace('"ASKED"', "1E+3"))

    assert isinstance(message, OrderChecked)
    assert str(message.decision) == "HELD 1000"


def test_what_a_later_release_adds_is_left_alone() -> None:
    event = json.loads(with_data(check(), giftWrap=True)) | {"traceparent": "00-1-2-01"}

    assert envelopes.decode(json.dumps(event)) == check()


def test_a_code_of_a_later_release_is_a_refusal() -> None:
    message = envelopes.decode(with_data(checked(decision=declined()), code="BAD_LUCK"))

    assert isinstance(message, OrderChecked)
    assert (message.decision.outcome, message.decision.code) == (Outcome.DECLINED, "BAD_LUCK")
    order = placed().record_check(message.check, message.decision, now=NOW)
    assert (order.status, log_lines(order)[-1]) == (OrderStatus.REJECTED, f"{NOW} rejected: BAD_LUCK")


def test_what_an_order_names_of_prices_is_sent_and_read_exactly() -> None:
    details = details_of(items=(("pen", 1), ("ink", 2)), unit_price="0.10", total="0.30")

    body = body_of(check(details))

    assert body.count('"unitPrice":0.10') == 2
    assert envelopes.decode(body) == check(details)
    assert "unitPrice" not in body_of(check())


def state(of: BalanceState) -> dict[str, Any]:
    """A state in its envelope, without publisher and time."""
    envelope = envelopes.encode(of, message_id="any", source="/order-capture/any", time="any")
    event: dict[str, Any] = json.loads(envelope.body, parse_float=Decimal)
    assert (envelope.type, envelope.version) == (event["type"], "1")
    return event


def test_the_state_of_an_account_is_its_figures_and_which_of_its_states_it_is() -> None:
    head = Balance(Decimal("74.5"), Decimal("25.5"), Decimal(0), version=7, update_time=NOW)

    event = state(BalanceState(ACCOUNTS, "alice", head))

    assert (event["type"], event["subject"], event["time"]) == ("account.state", "alice", NOW)
    assert (event["dataschema"], event["correlationid"]) == ("urn:order-capture:account.state:1", "alice@7")
    assert event["data"] == {
        "customerId": "alice",
        "version": 7,
        "deleted": False,
        "balance": Decimal("74.50"),
        "held": Decimal("25.50"),
        "settled": Decimal("0.00"),
    }


def test_the_state_of_a_product_is_in_units() -> None:
    event = state(BalanceState(STOCK, "pen", Balance(Decimal(5), version=1, update_time=NOW)))

    assert event["type"] == "stock.state"
    assert event["data"]["productId"] == "pen"
    assert [event["data"][name] for name in ("balance", "held", "settled")] == [5, 0, 0]


def test_a_tombstone_has_its_place_among_the_states_and_no_figures() -> None:
    event = state(BalanceState(STOCK, "pen", Balance(Decimal(0), version=8, update_time=NOW, deleted=True)))

    assert event["data"] == {"productId": "pen", "version": 8, "deleted": True}


def test_a_state_has_the_same_id_each_time_it_is_published_and_no_other_has_it() -> None:
    heads = [Balance(Decimal(5), version=version, update_time=NOW) for version in (1, 2)]
    states = [BalanceState(kind, name, head) for kind in (ACCOUNTS, STOCK) for name in "ab" for head in heads]

    ids = [state(each)["id"] for each in states]

    assert ids == [state(each)["id"] for each in states]
    assert len(set(ids)) == len(states)
