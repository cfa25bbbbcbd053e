"""What clients may send: every bad input is refused, and names its field."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_capture.application.callers import Caller
from order_capture.application.ledger.adjust_balance import BalanceRequest
from order_capture.application.ledger.list_balances import BalanceQuery
from order_capture.application.orders.capture_orders import Batch
from order_capture.application.orders.list_orders import OrderQuery
from order_capture.application.ports import OrderCursor
from order_capture.domain.errors import NotFoundError
from order_capture.domain.order import DeclineCode, Order, OrderLine, OrderStatus
from order_capture.entrypoints.http import ledger_requests, order_requests, pagination, requests
from order_capture.entrypoints.http.api import Request
from order_capture.entrypoints.http.problems import RequestInvalidError
from tests.support.factories import NOW, SERVICE

TIME_NEEDED = "must be a date and time with its offset, like 2026-11-20T10:00:00Z"
CURSOR_NEEDED = "must be a cursor from an earlier response to this request"
PREFIX_NEEDED = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ : @ + ~ -"
PEN = {"productId": "pen", "qty": 1}
ORDER = {"customerId": "alice", "items": [PEN], "totalAmount": 25.5}


def request(
    body: object = "",
    *,
    key: str | None = None,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, list[str]] | None = None,
    caller: Caller = SERVICE,
) -> Request:
    """A request. A `body` that is neither text nor bytes becomes JSON."""
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
    headers = {} if key is None else {"idempotency-key": key}
    body = body if isinstance(body, bytes) else body.encode()
    return Request(body, path or {}, query or {}, headers, "request-1", caller)


def new_ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"id-{next(numbers)}"


def order_of(body: object, key: str | None = None) -> Order:
    return order_requests.new_order(request(body, key=key), new_ids(), NOW)


def batch_of(body: object, key: str | None = None) -> Batch:
    return order_requests.new_orders(request(body, key=key), new_ids(), NOW)


def account_of(body: object, key: str | None = None) -> BalanceRequest:
    return ledger_requests.account_change(request(body, key=key), new_ids())


def stock_of(body: object, key: str | None = None) -> BalanceRequest:
    return ledger_requests.stock_change(request(body, key=key), new_ids())


def wrong_fields(read: Callable[[Any], object], body: object) -> dict[str, str]:
    """The fields that are refused, with the message of each."""
    with pytest.raises(RequestInvalidError) as refusal:
        read(body)
    return {error.field: error.message for error in refusal.value.errors}


def order_json(**fields: str) -> str:
    """An order's JSON with some of its values as written here: what json.dumps would not write."""
    written = {"customerId": '"alice"', "items": '[{"productId":"pen","qty":1}]', "totalAmount": "25.5"}
    return "{" + ",".join(f'"{name}":{value}' for name, value in {**written, **fields}.items()) + "}"


def one_item(value: str) -> str:
    return order_json(items='[{"productId":"pen","qty":' + value + "}]")


class TestAnOrder:
    def test_is_read_exactly(self) -> None:
        order = order_of(
            '{"totalAmount":0.10,"items":[{"qty":2,"productId":"b"},{"qty":1,"productId":"a"}],"customerId":"x"}'
        )

        assert (order.order_id, order.create_time, order.correlation_id) == ("id-1", NOW, "request-1")
        assert order.details.customer_id == "x"
        assert order.details.items == (OrderLine("b", 2), OrderLine("a", 1))
        assert str(order.details.total_amount) == "0.10"

    @pytest.mark.parametrize(
        ("total", "amount"),
        [("0", "0.00"), ("999999999.99", "999999999.99"), ("1E2", "100.00"), ("-0.0", "0.00")],
    )
    def test_may_cost_anything_within_the_bounds(self, total: str, amount: str) -> None:
        assert str(order_of(order_json(totalAmount=total)).details.total_amount) == amount

    def test_may_name_an_address_for_its_events_or_not(self) -> None:
        order = order_of({**ORDER, "callbackUrl": "https://shop.example.com:8443/hooks?of=alice"})

        assert order.callback_url == "https://shop.example.com:8443/hooks?of=alice"
        assert order_of(ORDER).callback_url == ""

    def test_may_name_this_machine_on_the_local_engine_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        body = {**ORDER, "callbackUrl": "http://127.0.0.1:8000/"}
        assert wrong_fields(order_of, body) == {"callbackUrl": "must begin with https://"}
        monkeypatch.setenv("LOOPBACK_WEBHOOKS", "true")
        assert order_of(body).callback_url == "http://127.0.0.1:8000/"

    def test_may_be_as_large_as_the_bounds_say(self) -> None:
        lines = [{"productId": f"{i:064}", "qty": 100_000} for i in range(50)]
        url = "https://shop.example.com/".ljust(512, "x")

        order = order_of({**ORDER, "items": lines, "customerId": "c" * 64, "callbackUrl": url})

        assert len(order.details.items) == 50

    @pytest.mark.parametrize("qty", ["3", "3.0", "3.000", "3e0", "30e-1", "0.3E+1"])
    def test_has_a_whole_number_of_units_however_that_is_written(self, qty: str) -> None:
        order = order_of(one_item(qty))

        assert order.details.items == (OrderLine("pen", 3),)
        assert type(order.details.items[0].qty) is int
        assert order.fingerprint == order_of(one_item("3")).fingerprint

    @pytest.mark.parametrize(
        "name",
        [
            "a",
            "A-Z.0_9",
            "user@example.org",
            "eu:42",
            "x+y~z",
            ".a",
            "a.",
            "..a",
            "a..",
            "...a..",
            "-",
            "." * 63 + "a",
        ],
    )
    def test_takes_every_id_that_the_contract_allows(self, name: str) -> None:
        assert order_of({**ORDER, "customerId": name}).details.customer_id == name

    @pytest.mark.parametrize(
        ("body", "field", "message"),
        [
            pytest.param("", "body", "must be JSON", id="nothing"),
            pytest.param("{", "body", "must be JSON", id="cut off"),
            pytest.param("{'customerId': 1}", "body", "must be JSON", id="quotes of another kind"),
            pytest.param(b'{"customerId": "\xff"}', "body", "must be JSON in UTF-8", id="not UTF-8"),
            pytest.param('{"a":1,"a":2}', "body", "a name twice", id="a name twice"),
            pytest.param(one_item('1,"qty":2'), "body", "a name twice", id="a name twice, further in"),
            pytest.param(r'{"a":1,"\u0061":2}', "body", "a name twice", id="a name twice, once escaped"),
            pytest.param("[" * 30_000, "body", "nested so deeply", id="deep nesting"),
            pytest.param("null", "body", "must be an object", id="null for the whole"),
            pytest.param("[]", "body", "must be an object", id="a list for the whole"),
            pytest.param('"order"', "body", "must be an object", id="a text for the whole"),
            pytest.param("1", "body", "must be an object", id="a number for the whole"),
            pytest.param(" " * (32 * 1024 + 1), "body", "at most 32768 bytes", id="over the limit"),
            pytest.param(
                order_json(totalAmount="9.990"), "totalAmount", "at most 2 decimal", id="a third place"
            ),
            pytest.param({**ORDER, "note": "!"}, "note", "not a field", id="a field too many"),
            pytest.param(
                {**ORDER, "items": [{**PEN, "price": 1}]},
                "items[0].price",
                "not a field",
                id="and in an item",
            ),
            pytest.param({"items": [PEN], "totalAmount": 1}, "customerId", "required", id="no customer"),
            pytest.param({"customerId": "a", "totalAmount": 1}, "items", "required", id="no items"),
            pytest.param({"customerId": "a", "items": [PEN]}, "totalAmount", "required", id="no total"),
            pytest.param({**ORDER, "items": [{"qty": 1}]}, "items[0].productId", "required", id="no product"),
            pytest.param(
                {**ORDER, "items": [PEN, {"productId": "a"}]}, "items[1].qty", "required", id="no quantity"
            ),
            pytest.param({**ORDER, "customerId": 7}, "customerId", "must be text", id="customer 7"),
            pytest.param({**ORDER, "customerId": None}, "customerId", "must be text", id="customer null"),
            pytest.param({**ORDER, "customerId": ""}, "customerId", "1 to 64", id="customer blank"),
            pytest.param({**ORDER, "customerId": " "}, "customerId", "1 to 64", id="customer of space"),
            pytest.param(
                {**ORDER, "customerId": "a\n"}, "customerId", "1 to 64", id="customer with a newline"
            ),
            pytest.param({**ORDER, "customerId": "a#b"}, "customerId", "1 to 64", id="customer with a #"),
            *(
                pytest.param(
                    {**ORDER, "customerId": dots}, "customerId", "not only dots", id=f"customer {dots}"
                )
                for dots in (".", "..", "...", "." * 64)
            ),
            pytest.param({**ORDER, "customerId": "%2e"}, "customerId", "1 to 64", id="customer %2e"),
            pytest.param({**ORDER, "customerId": "é"}, "customerId", "1 to 64", id="customer beyond ASCII"),
            pytest.param({**ORDER, "customerId": "x" * 65}, "customerId", "1 to 64", id="customer of 65"),
            pytest.param({**ORDER, "customerId": "x" * 300}, "customerId", "1 to 64", id="customer of 300"),
            pytest.param(order_json(customerId=r'"\ud800"'), "customerId", "", id="half a character"),
            pytest.param(
                {**ORDER, "items": [{"productId": "x" * 300, "qty": 1}]},
                "items[0].productId",
                "1 to 64",
                id="product of 300",
            ),
            pytest.param(
                {**ORDER, "items": [{"productId": " ", "qty": 1}]},
                "items[0].productId",
                "1 to 64",
                id="product blank",
            ),
            pytest.param({**ORDER, "items": []}, "items", "at least 1", id="no item"),
            pytest.param({**ORDER, "items": [PEN] * 51}, "items", "at most 50", id="51 items"),
            pytest.param({**ORDER, "items": {}}, "items", "must be a list", id="items of another type"),
            pytest.param({**ORDER, "items": "pen"}, "items", "must be a list", id="items as text"),
            pytest.param({**ORDER, "items": None}, "items", "must be a list", id="items null"),
            pytest.param({**ORDER, "items": ["pen"]}, "items[0]", "must be an object", id="an item as text"),
            pytest.param({**ORDER, "items": [None]}, "items[0]", "must be an object", id="an item null"),
            pytest.param(one_item("0"), "items[0].qty", "at least 1", id="quantity 0"),
            pytest.param(one_item("-1"), "items[0].qty", "at least 1", id="quantity negative"),
            pytest.param(one_item("1.5"), "items[0].qty", "whole number", id="quantity fractional"),
            pytest.param(one_item("100000.5"), "items[0].qty", "whole number", id="quantity and a half"),
            pytest.param(one_item("1e5.0"), "body", "must be JSON", id="quantity that is no number"),
            pytest.param(one_item("100001"), "items[0].qty", "at most 100000", id="quantity huge"),
            pytest.param(one_item("9" * 5000), "items[0].qty", "whole number", id="quantity of 5000 digits"),
            pytest.param(one_item("1e400"), "items[0].qty", "whole number", id="quantity 1e400"),
            pytest.param(one_item("NaN"), "items[0].qty", "whole number", id="quantity NaN"),
            pytest.param(one_item('"1"'), "items[0].qty", "whole number", id="quantity as text"),
            pytest.param(one_item("true"), "items[0].qty", "whole number", id="quantity true"),
            pytest.param(one_item("null"), "items[0].qty", "whole number", id="quantity null"),
            pytest.param(
                order_json(totalAmount="0.001"), "totalAmount", "at most 2 decimal", id="3 decimals"
            ),
            pytest.param(order_json(totalAmount="1e-3"), "totalAmount", "at most 2 decimal", id="1e-3"),
            pytest.param(order_json(totalAmount="1e-400"), "totalAmount", "at most 30 digits", id="1e-400"),
            pytest.param(order_json(totalAmount="-0.01"), "totalAmount", "at least 0", id="total negative"),
            pytest.param(
                order_json(totalAmount="1000000000"),
                "totalAmount",
                "at most 999999999.99",
                id="total too high",
            ),
            pytest.param(order_json(totalAmount="1e400"), "totalAmount", "at most", id="total 1e400"),
            pytest.param(
                order_json(totalAmount="1e" + "9" * 30), "totalAmount", "a number", id="total 1e9…9"
            ),
            pytest.param(order_json(totalAmount="NaN"), "totalAmount", "a number", id="total NaN"),
            pytest.param(order_json(totalAmount="Infinity"), "totalAmount", "a number", id="total infinite"),
            pytest.param(
                order_json(totalAmount="-Infinity"), "totalAmount", "a number", id="total -infinite"
            ),
            pytest.param(order_json(totalAmount='"25.5"'), "totalAmount", "a number", id="total as text"),
            pytest.param(order_json(totalAmount="true"), "totalAmount", "a number", id="total true"),
            pytest.param(order_json(totalAmount="null"), "totalAmount", "a number", id="total null"),
            pytest.param(order_json(totalAmount="[1]"), "totalAmount", "a number", id="total in a list"),
        ],
    )
    def test_that_is_wrong_is_refused_and_the_field_named(
        self, body: object, field: str, message: str
    ) -> None:
        wrong = wrong_fields(order_of, body)

        assert list(wrong) == [field]
        assert message in wrong[field]

    def test_with_several_mistakes_all_are_named(self) -> None:
        wrong = wrong_fields(order_of, {"customerId": "", "items": [{"productId": "pen", "qty": 0}], "x": 1})

        assert set(wrong) == {"customerId", "items[0].qty", "totalAmount", "x"}

    def test_of_exactly_the_largest_size_is_read(self) -> None:
        text = json.dumps(ORDER)

        assert order_of(text + " " * (32 * 1024 - len(text))).details.customer_id == "alice"


class TestABatch:
    def test_is_read_in_the_order_sent_with_each_bad_ones_own_errors(self) -> None:
        batch = batch_of({"orders": [ORDER, {**ORDER, "items": []}, 3, {**ORDER, "customerId": "bob"}]})

        first, second, third, fourth = batch.entries
        assert isinstance(first, Order)
        assert isinstance(fourth, Order)
        assert (first.order_id, fourth.order_id) == ("id-1", "id-2")
        assert isinstance(second, RequestInvalidError)
        assert isinstance(third, RequestInvalidError)
        assert [error.field for error in second.errors] == ["orders[1].items"]
        assert [error.field for error in third.errors] == ["orders[2]"]

    @pytest.mark.parametrize("total", ["NaN", "Infinity", "1e400", "9" * 5000, "0.001", '"1"'])
    def test_is_read_though_an_order_of_it_costs_what_no_order_can(self, total: str) -> None:
        batch = batch_of('{"orders":[' + order_json(totalAmount=total) + "," + order_json() + "]}")

        bad, good = batch.entries
        assert isinstance(good, Order)
        assert isinstance(bad, RequestInvalidError)
        assert [error.field for error in bad.errors] == ["orders[0].totalAmount"]

    def test_takes_a_hundred_orders(self) -> None:
        assert len(batch_of({"orders": [ORDER] * 100}).entries) == 100

    @pytest.mark.parametrize(
        ("body", "field", "message"),
        [
            pytest.param({"orders": [ORDER] * 101}, "orders", "at most 100", id="101 orders"),
            pytest.param({"orders": []}, "orders", "at least 1", id="no order"),
            pytest.param({"orders": ORDER}, "orders", "must be a list", id="one order"),
            pytest.param({"orders": None}, "orders", "must be a list", id="null"),
            pytest.param({}, "orders", "required", id="nothing"),
            pytest.param({"orders": [ORDER], "dryRun": True}, "dryRun", "not a field", id="a field too many"),
            pytest.param([ORDER], "body", "must be an object", id="a bare list"),
            pytest.param(b" " * (1024 * 1024 + 1), "body", "at most 1048576 bytes", id="over the limit"),
        ],
    )
    def test_that_is_wrong_itself_is_refused_whole(self, body: object, field: str, message: str) -> None:
        wrong = wrong_fields(batch_of, body)

        assert list(wrong) == [field]
        assert message in wrong[field]

    @pytest.mark.parametrize("depth", [10, 100, 500, 1000, 100_000])
    def test_nested_to_any_depth_gets_an_answer_and_no_crash(self, depth: int) -> None:
        body = '{"orders":[' + "[" * depth + "]" * depth + "]}"
        try:
            entries = batch_of(body).entries
        except RequestInvalidError:
            return
        assert [type(entry) for entry in entries] == [RequestInvalidError]


class TestAnIdempotencyKey:
    def test_stands_for_one_order_id(self) -> None:
        assert order_of(ORDER, "key-1").order_id == order_of(ORDER, "key-1").order_id
        assert order_of(ORDER, "key-1").order_id != order_of(ORDER, "key-2").order_id

    def test_stands_for_one_id_for_each_order_of_a_batch_and_one_for_the_batch(self) -> None:
        batch, again = (batch_of({"orders": [ORDER, ORDER]}, "key-1") for _ in range(2))

        ids = [entry.order_id for entry in batch.entries if isinstance(entry, Order)]
        assert ids == [entry.order_id for entry in again.entries if isinstance(entry, Order)]
        assert batch.request_id == again.request_id == order_of(ORDER, "key-1").order_id
        assert len({*ids, batch.request_id}) == 3

    def test_keeps_an_orders_id_where_it_stands_in_its_batch_whatever_is_wrong_before_it(self) -> None:
        good = batch_of({"orders": [ORDER, ORDER]}, "key-1").entries[1]
        after_a_bad_one = batch_of({"orders": [3, ORDER]}, "key-1").entries[1]

        assert isinstance(good, Order)
        assert isinstance(after_a_bad_one, Order)
        assert good.order_id == after_a_bad_one.order_id

    def test_stands_for_one_adjustment(self) -> None:
        first, again = (account_of({"customerId": "alice", "adjust": 5}, "key-1") for _ in range(2))

        assert first == again
        assert first.idempotent

    def test_belongs_to_its_caller(self) -> None:
        def ids_of(caller: Caller) -> set[str]:
            order = order_requests.new_order(request(ORDER, key="key-1", caller=caller), new_ids(), NOW)
            batch = order_requests.new_orders(
                request({"orders": [ORDER]}, key="key-1", caller=caller), new_ids(), NOW
            )
            change = ledger_requests.account_change(
                request({"customerId": "alice", "adjust": 5}, key="key-1", caller=caller), new_ids()
            )
            in_batch = {entry.order_id for entry in batch.entries if isinstance(entry, Order)}
            return {order.order_id, change.adjustment_id, *in_batch}

        alice = Caller("sub-1", "alice")
        assert ids_of(alice) == ids_of(alice)
        assert not ids_of(alice) & ids_of(Caller("sub-2", "bob"))
        assert not ids_of(alice) & ids_of(SERVICE)

    def test_left_out_every_request_is_another(self) -> None:
        numbers = new_ids()
        orders = [order_requests.new_order(request(ORDER), numbers, NOW) for _ in range(2)]

        assert orders[0].order_id != orders[1].order_id
        assert not account_of({"customerId": "alice", "adjust": 5}).idempotent

    @pytest.mark.parametrize("key", ["a", "x" * 255, "two words", "8e03978e-40d5-43dd-bc93-6894a57f9324"])
    def test_may_be_any_printable_text(self, key: str) -> None:
        assert order_of(ORDER, key).order_id

    @pytest.mark.parametrize("key", ["", " ", "x" * 256, "é", "a\tb", "a\n"])
    def test_of_any_other_kind_is_refused_by_its_name(self, key: str) -> None:
        assert set(wrong_fields(lambda body: order_of(body, key), ORDER)) == {"Idempotency-Key"}


class TestAFingerprint:
    @pytest.mark.parametrize(
        "same",
        [
            '{"totalAmount":25.5,"items":[{"qty":1,"productId":"pen"}],"customerId":"alice"}',
            '{"totalAmount":25.50,"items":[{"qty":1,"productId":"pen"}],"customerId":"alice"}',
            '{"totalAmount":2.55E1,"items":[{"qty":1,"productId":"pen"}],"customerId":"alice"}',
            ' { "customerId" : "al\\u0069ce", "items": [{"productId":"pen","qty":1}], "totalAmount": 25.5 } ',
        ],
    )
    def test_is_the_same_for_the_same_order_however_it_is_written(self, same: str) -> None:
        assert order_of(same).fingerprint == order_of(ORDER).fingerprint

    @pytest.mark.parametrize(
        "other",
        [
            {**ORDER, "totalAmount": 25.51},
            {**ORDER, "customerId": "bob"},
            {**ORDER, "items": [{"productId": "pen", "qty": 2}]},
            {**ORDER, "items": [PEN, PEN]},
            {**ORDER, "callbackUrl": "https://shop.example.com/"},
        ],
    )
    def test_is_another_for_another_order(self, other: object) -> None:
        assert order_of(other).fingerprint != order_of(ORDER).fingerprint

    def test_of_a_batch_is_another_if_a_bad_order_of_it_is_another(self) -> None:
        assert batch_of({"orders": [ORDER, 1]}).fingerprint != batch_of({"orders": [ORDER, 2]}).fingerprint


class TestABalance:
    def test_of_an_account_is_set_in_money(self) -> None:
        change = account_of('{"customerId":"alice","balance":0.10}')

        assert (change.entity, change.adjustment_id, change.adjust) == ("alice", "id-1", None)
        assert change.balance == Decimal("0.10")

    def test_of_a_product_is_set_in_units(self) -> None:
        change = stock_of({"productId": "pen", "balance": 5})

        assert (change.entity, change.balance, change.adjust) == ("pen", Decimal(5), None)

    @pytest.mark.parametrize("by", [5, -5, 0])
    def test_is_changed_by_an_amount(self, by: int) -> None:
        assert account_of({"customerId": "alice", "adjust": by}).adjust == by
        assert stock_of({"productId": "pen", "adjust": by}).adjust == by

    @pytest.mark.parametrize(("read", "name"), [(account_of, "customerId"), (stock_of, "productId")])
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            pytest.param({}, "balance", id="neither"),
            pytest.param({"balance": 5, "adjust": 5}, "balance", id="both"),
            pytest.param({"balance": None}, "balance", id="null"),
            pytest.param({"balance": 5, "adjust": None}, "balance", id="one and null"),
            pytest.param({"balance": -1}, "balance", id="negative"),
            pytest.param({"balance": "5"}, "balance", id="as text"),
            pytest.param({"adjust": True}, "adjust", id="true"),
            pytest.param({"adjust": 1.005}, "adjust", id="a fraction of a cent"),
            pytest.param({"adjust": 10**13}, "adjust", id="too high"),
            pytest.param({"adjust": -(10**13)}, "adjust", id="too low"),
            pytest.param({"balance": 5, "note": "!"}, "note", id="a field too many"),
        ],
    )
    def test_that_is_wrong_is_refused_and_the_field_named(
        self, read: Callable[[Any], object], name: str, change: dict[str, Any], field: str
    ) -> None:
        assert set(wrong_fields(read, {name: "some", **change})) == {field}

    @pytest.mark.parametrize(("read", "name"), [(account_of, "customerId"), (stock_of, "productId")])
    def test_needs_to_say_whose_it_is(self, read: Callable[[Any], object], name: str) -> None:
        assert set(wrong_fields(read, {"balance": 5})) == {name}
        assert set(wrong_fields(read, {name: "", "balance": 5})) == {name}

    def test_of_a_product_has_no_halves(self) -> None:
        assert set(wrong_fields(stock_of, {"productId": "pen", "balance": 1.5})) == {"balance"}

    def test_is_full_at_its_bounds(self) -> None:
        assert account_of('{"customerId":"a","balance":999999999999.99}').balance == Decimal(
            "999999999999.99"
        )
        assert stock_of({"productId": "a", "balance": 1_000_000_000}).balance == 1_000_000_000
        assert "balance" in wrong_fields(account_of, '{"customerId":"a","balance":1000000000000}')
        assert "balance" in wrong_fields(stock_of, {"productId": "a", "balance": 1_000_000_001})


class TestAnIdInThePath:
    def test_is_read(self) -> None:
        assert requests.path_id(request("", path={"orderId": "order-1"}), "orderId") == "order-1"

    def test_may_be_written_in_percents(self) -> None:
        assert requests.path_id(request("", path={"orderId": "user%40example.org"}), "orderId") == (
            "user@example.org"
        )

    @pytest.mark.parametrize("value", ["", " ", "x" * 65, "a#b", "a/b", "é", "a\n", "a%23b", "a%2Fb"])
    def test_that_nothing_can_have_is_not_found(self, value: str) -> None:
        with pytest.raises(NotFoundError):
            requests.path_id(request("", path={"orderId": value}), "orderId")

    def test_that_is_missing_is_not_found(self) -> None:
        with pytest.raises(NotFoundError):
            requests.path_id(request(""), "orderId")


class TestABatchThatIsToBeAllOrNothing:
    def test_is_taken_if_all_of_it_is_valid(self) -> None:
        batch = batch_of({"orders": [ORDER, ORDER], "errorPolicy": "REJECT_ALL"})

        assert [type(entry) for entry in batch.entries] == [Order, Order]

    def test_is_refused_with_every_fault_if_some_of_it_is_not(self) -> None:
        bad = {**ORDER, "items": [{"productId": "pen", "qty": 0}]}

        errors = wrong_fields(batch_of, {"orders": [bad, ORDER, {}], "errorPolicy": "REJECT_ALL"})

        assert errors == {
            "orders[0].items[0].qty": "must be at least 1",
            "orders[2].customerId": "is required",
            "orders[2].items": "is required",
            "orders[2].totalAmount": "is required",
        }

    def test_takes_the_valid_ones_if_that_is_what_it_says(self) -> None:
        batch = batch_of({"orders": [ORDER, {}], "errorPolicy": "ACCEPT_VALID"})

        assert [type(entry) for entry in batch.entries] == [Order, RequestInvalidError]

    @pytest.mark.parametrize("policy", ["reject_all", "", None, 1])
    def test_can_say_nothing_else(self, policy: object) -> None:
        errors = wrong_fields(batch_of, {"orders": [ORDER], "errorPolicy": policy})

        assert errors == {"errorPolicy": "must be 'ACCEPT_VALID' or 'REJECT_ALL'"}


class TestAListOfOrders:
    def test_is_of_one_customer_and_all_the_rest_has_a_default(self) -> None:
        assert query_of(customerId="alice") == OrderQuery(
            "alice", "0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", None, 20, None
        )

    def test_is_of_what_its_parameters_say(self) -> None:
        place = OrderCursor("2026-11-20T10:00:00.000Z", "order-1")
        times = {"from": "2026-11-20T10:00:00+02:00", "to": "2026-11-20T10:00:00.1234567Z"}

        query = query_of(
            customerId="alice", status="SHIPPED", limit="7", cursor=pagination.encode(place), **times
        )

        assert query == OrderQuery(
            "alice", "2026-11-20T08:00:00.000Z", "2026-11-20T10:00:00.123Z", OrderStatus.SHIPPED, 7, place
        )

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            (
                "customerId",
                "a b",
                "must be 1 to 64 of the characters A-Z a-z 0-9 . _ : @ + ~ -, not only dots",
            ),
            (
                "status",
                "shipped",
                "must be 'PENDING', 'CONFIRMED', 'REJECTED', 'SHIPPED', 'CANCELLED' or 'EXPIRED'",
            ),
            ("limit", "0", "must be at least 1"),
            ("limit", "101", "must be at most 100"),
            ("limit", "1_0", "must be a whole number"),
            ("limit", "١", "must be a whole number"),
            ("limit", "1e1", "must be a whole number"),
            ("limit", "", "must be a whole number"),
            ("from", "yesterday", TIME_NEEDED),
            ("from", "2026-11-20", TIME_NEEDED),
            ("from", "2026-11-20T10:00:00", TIME_NEEDED),
            ("to", "2026-02-30T10:00:00Z", TIME_NEEDED),
            *(
                ("from", time, TIME_NEEDED)
                for time in (
                    "2026-11-20 10:00:00Z",
                    "2026-11-20T10:00Z",
                    "2026-11-20T24:00:00Z",
                    "2026-11-20T10:60:00Z",
                    "2026-11-20T10:00:61Z",
                    "2026-11-20T10:00:00.Z",
                    "2026-11-20T10:00:00,5Z",
                    "2026-11-20T10:00:00+0100",
                    "2026-11-20T10:00:00+24:00",
                    "2026-11-20T10:00:00+01:60",
                    "2026-11-20T10:00:00 01:00",
                    "20261120T100000Z",
                    "2026-W47-5T10:00:00Z",
                    "٢٠٢٦-11-20T10:00:00Z",
                    "+002026-11-20T10:00:00Z",
                    "0000-02-30T10:00:00Z",
                    "2026-02-29T23:59:60Z",
                    # A leap second is the last of a month, by UTC.
                    "2016-12-31T10:00:60Z",
                    "2016-12-30T23:59:60Z",
                    "2016-12-31T23:59:60+01:00",
                    "2026-11-20T10:00:00Z\n",
                )
            ),
            ("cursor", "", CURSOR_NEEDED),
            ("cursor", "é", CURSOR_NEEDED),
            ("cursor", "AAAA", CURSOR_NEEDED),
            ("cursor", "a", CURSOR_NEEDED),
            ("sort", "asc", "is not a parameter of this request"),
        ],
    )
    def test_names_the_parameter_that_is_wrong(self, name: str, value: str, message: str) -> None:
        assert wrong_parameters({"customerId": "alice", name: value}) == {name: message}

    @pytest.mark.parametrize(
        ("time", "read"),
        [
            ("2026-11-20t10:00:00z", "2026-11-20T10:00:00.000Z"),
            ("2026-11-20T10:00:00.5Z", "2026-11-20T10:00:00.500Z"),
            ("2026-11-20T10:00:00.12345678901234567890Z", "2026-11-20T10:00:00.123Z"),
            ("2026-11-20T10:00:00.9999999999Z", "2026-11-20T10:00:00.999Z"),
            ("2026-11-20T10:00:00-00:00", "2026-11-20T10:00:00.000Z"),
            ("2026-11-20T10:00:00+23:59", "2026-11-19T10:01:00.000Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
            ("2016-12-31t23:59:60.999z", "2017-01-01T00:00:00.000Z"),
            ("2016-12-31T18:59:60-05:00", "2017-01-01T00:00:00.000Z"),
            ("2017-01-01T09:29:60.5+09:30", "2017-01-01T00:00:00.000Z"),
            ("2015-06-30T23:59:60Z", "2015-07-01T00:00:00.000Z"),
            # Before and after all times of ours.
            ("0000-02-29T23:59:59-12:00", "0000-01-01T00:00:00.000Z"),
            ("0001-01-01T00:00:00+23:00", "0000-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59-23:00", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999Z"),
        ],
    )
    def test_takes_every_time_of_rfc_3339(self, time: str, read: str) -> None:
        query = query_of(customerId="alice", **{"from": time, "to": time})

        assert (query.since, query.until) == (read, read)

    def test_is_of_all_customers_without_one_and_of_their_own_where_a_customer_asks(self) -> None:
        alice = request(caller=Caller("sub-1", "alice"))

        assert query_of().customer_id is None
        assert order_requests.orders_query(alice).customer_id == "alice"

    @pytest.mark.parametrize("reason", DeclineCode)
    def test_may_be_of_one_reason(self, reason: DeclineCode) -> None:
        assert query_of(reason=reason).reason == reason

    def test_names_the_reasons_that_there_are(self) -> None:
        (message,) = wrong_parameters({"reason": "sold_out"}).values()

        assert message.startswith("must be 'INSUFFICIENT_BALANCE', 'INSUFFICIENT_STOCK', ")

    def test_of_all_customers_goes_on_at_a_second(self) -> None:
        times = {"from": "2026-11-20T10:00:00.700Z", "to": "2026-11-20T10:00:00.900Z"}
        place = OrderCursor("2026-11-20T10:00:00", "order-1")

        assert query_of(cursor=pagination.encode(place), **times).after == place

    @pytest.mark.parametrize(
        ("time", "more"),
        [
            ("2026-11-20T10:00:00.000Z", {}),  # of a customer's list
            ("2026-11-20T09:59:59", {"from": "2026-11-20T10:00:00Z"}),
            ("2026-11-20T10:00:01", {"to": "2026-11-20T10:00:00.999Z"}),
            ("2026-11-20T10:00:00", {"customerId": "alice"}),  # of all customers' list
        ],
    )
    def test_has_no_cursor_of_another_list(self, time: str, more: Mapping[str, str]) -> None:
        cursor = pagination.encode(OrderCursor(time, "order-1"))

        assert wrong_parameters({"cursor": cursor, **more}) == {"cursor": CURSOR_NEEDED}

    def test_takes_a_parameter_once(self) -> None:
        with pytest.raises(RequestInvalidError, match="status must be given once"):
            order_requests.orders_query(
                request(query={"customerId": ["a"], "status": ["SHIPPED", "PENDING"]})
            )

    @pytest.mark.parametrize(
        "other", [{"from": "2026-11-20T10:00:00.001Z"}, {"to": "2026-11-20T09:59:59.999Z"}]
    )
    def test_has_no_cursor_of_another_time(self, other: Mapping[str, str]) -> None:
        cursor = pagination.encode(OrderCursor("2026-11-20T10:00:00.000Z", "order-1"))

        assert query_of(customerId="a", cursor=cursor).after == OrderCursor(
            "2026-11-20T10:00:00.000Z", "order-1"
        )
        assert set(wrong_parameters({"customerId": "a", "cursor": cursor, **other})) == {"cursor"}

    @given(st.text())
    def test_has_no_cursor_that_is_not_refused_or_a_place(self, text: str) -> None:
        try:
            place = pagination.decode_listed(text)
        except ValueError:
            return
        assert pagination.decode_listed(pagination.encode(place)) == place


class TestAListOfBalances:
    def balances_query(self, **parameters: str) -> BalanceQuery:
        query = {name: [value] for name, value in parameters.items()}
        return ledger_requests.balances_query(request(query=query))

    def wrong(self, **parameters: str) -> dict[str, str]:
        return wrong_fields(lambda values: self.balances_query(**values), parameters)

    def test_is_of_all_by_default(self) -> None:
        assert self.balances_query() == BalanceQuery("", None, 20)

    def test_is_of_what_its_parameters_say(self) -> None:
        query = self.balances_query(prefix="Pen.", limit="100", cursor=pagination.pack("Pen.1"))

        assert query == BalanceQuery("Pen.", "Pen.1", 100)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            *(("prefix", each, PREFIX_NEEDED) for each in ("", "a b", "pen#1", "é", "x" * 65, "pen\n")),
            ("limit", "0", "must be at least 1"),
            ("limit", "101", "must be at most 100"),
            ("limit", "", "must be a whole number"),
            *(("cursor", each, CURSOR_NEEDED) for each in ("", "é", "a", "AAAA")),
            ("cursor", pagination.pack("pen#1"), CURSOR_NEEDED),
            ("cursor", pagination.pack(".."), CURSOR_NEEDED),
            ("sort", "asc", "is not a parameter of this request"),
        ],
    )
    def test_names_the_parameter_that_is_wrong(self, name: str, value: str, message: str) -> None:
        assert self.wrong(**{name: value}) == {name: message}

    def test_has_no_cursor_of_another_prefix(self) -> None:
        assert self.wrong(prefix="pen", cursor=pagination.pack("ink")) == {"cursor": CURSOR_NEEDED}


class TestAWait:
    @pytest.mark.parametrize(("query", "seconds"), [({}, 0), ({"wait": ["0"]}, 0), ({"wait": ["20"]}, 20)])
    def test_is_so_many_seconds(self, query: dict[str, list[str]], seconds: int) -> None:
        assert order_requests.wait_seconds(request(query=query)) == seconds

    @pytest.mark.parametrize("wait", ["21", "-1", "1.5", "", "long", "99999999999999999999"])
    def test_is_of_0_to_20_seconds(self, wait: str) -> None:
        with pytest.raises(RequestInvalidError, match="wait must be"):
            order_requests.wait_seconds(request(query={"wait": [wait]}))


def query_of(**parameters: str) -> OrderQuery:
    return order_requests.orders_query(request(query={name: [value] for name, value in parameters.items()}))


def wrong_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    return wrong_fields(lambda values: query_of(**values), parameters)
