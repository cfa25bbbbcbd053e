"""Responses to requests that the contract does not allow."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.deployed.shop import Balances, StackClient, body_of, order_body

# What would leak internals to a client.
_INTERNALS = ("Traceback", 'File "', "pydantic", "botocore", "Decimal(", "dynamodb", "arn:aws")


def assert_problem(answer: httpx.Response, status: int, *fields: str) -> dict[str, Any]:
    """Assert a problem document of this status about exactly these fields, without internals."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = body_of(answer)
    assert problem["status"] == status
    assert problem["type"].startswith("urn:order-capture:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert problem["requestId"]
    assert [error["field"] for error in problem.get("errors", [])] == list(fields)
    assert all(error["message"] for error in problem.get("errors", []))
    assert not [word for word in _INTERNALS if word in answer.text]
    return problem


def with_values(**values: str | None) -> str:
    """An object with these literal values. None: left out."""
    return "{" + ", ".join(f'"{name}": {value}' for name, value in values.items() if value is not None) + "}"


def order(**changed: str | None) -> str:
    """A valid order except for the changes."""
    line = '[{"productId": "pen", "qty": 1}]'
    return with_values(**({"customerId": '"alice"', "items": line, "totalAmount": "10.00"} | changed))


def line(**changed: str | None) -> str:
    """A valid order except for the changes of its second line."""
    second = with_values(**({"productId": '"ink"', "qty": "1"} | changed))
    return order(items=f'[{{"productId": "pen", "qty": 1}}, {second}]')


def account(**changed: str | None) -> str:
    return with_values(**({"customerId": '"alice"', "balance": "10.00"} | changed))


def stock(**changed: str | None) -> str:
    return with_values(**({"productId": '"pen"', "balance": "10"} | changed))


LISTS = ("/orders", "/account", "/stock")
LONG_ID = '"' + "x" * 300 + '"'
KIB = 1024

BAD_ORDERS = {
    "malformed JSON": ('{"customerId": "alice",', "body"),
    "nothing": ("", "body"),
    "a name twice": ('{"customerId": "alice", "customerId": "bob"}', "body"),
    "nested without end": ("[" * 20_000, "body"),
    "a list": ("[]", "body"),
    "a text": ('"order"', "body"),
    "null": ("null", "body"),
    "a body over the limit": (order() + " " * 32 * KIB, "body"),
    "no customer": (order(customerId=None), "customerId"),
    "a customer that is null": (order(customerId="null"), "customerId"),
    "a customer that is a number": (order(customerId="7"), "customerId"),
    "a blank customer": (order(customerId='" "'), "customerId"),
    "an empty customer": (order(customerId='""'), "customerId"),
    "a customer of 300 characters": (order(customerId=LONG_ID), "customerId"),
    "a customer with a line break": (order(customerId='"alice\\n"'), "customerId"),
    "a field too many": (order(priority="1"), "priority"),
    "a status of the client's own": (order(status='"SHIPPED"'), "status"),
    "no items": (order(items=None), "items"),
    "empty items": (order(items="[]"), "items"),
    "items that are no list": (order(items='{"productId": "pen", "qty": 1}'), "items"),
    "51 items": (order(items="[" + ",".join(['{"productId": "pen", "qty": 1}'] * 51) + "]"), "items"),
    "an item that is no object": (order(items='["pen"]'), "items[0]"),
    "a line without a product": (line(productId=None), "items[1].productId"),
    "a blank product": (line(productId='" "'), "items[1].productId"),
    "a product of 300 characters": (line(productId=LONG_ID), "items[1].productId"),
    "a line with a field too many": (line(price="2"), "items[1].price"),
    "no qty": (line(qty=None), "items[1].qty"),
    "qty 0": (line(qty="0"), "items[1].qty"),
    "a negative qty": (line(qty="-1"), "items[1].qty"),
    "a fractional qty": (line(qty="1.5"), "items[1].qty"),
    "a qty of 1e100000000": (line(qty="1e100000000"), "items[1].qty"),
    "a customer that no address can carry": (order(customerId='".."'), "customerId"),
    "a product that no address can carry": (line(productId='"."'), "items[1].productId"),
    "a huge qty": (line(qty="100001"), "items[1].qty"),
    "a qty of 5000 digits": (line(qty="9" * 5000), "items[1].qty"),
    "a qty that is text": (line(qty='"1"'), "items[1].qty"),
    "a qty that is true": (line(qty="true"), "items[1].qty"),
    "no total": (order(totalAmount=None), "totalAmount"),
    "a total with three decimals": (order(totalAmount="10.001"), "totalAmount"),
    "a negative total": (order(totalAmount="-0.01"), "totalAmount"),
    "a total that is too high": (order(totalAmount="1000000000"), "totalAmount"),
    "a total that is NaN": (order(totalAmount="NaN"), "totalAmount"),
    "a total that is Infinity": (order(totalAmount="-Infinity"), "totalAmount"),
    "a total of 1e400": (order(totalAmount="1e400"), "totalAmount"),
    "a total of 1e-400": (order(totalAmount="1e-400"), "totalAmount"),
    "a total that is text": (order(totalAmount='"10.00"'), "totalAmount"),
}
BAD_BATCHES = {
    "malformed JSON": ("{", "body"),
    "no orders": ("{}", "orders"),
    "an empty list": ('{"orders": []}', "orders"),
    "no list": ('{"orders": {}}', "orders"),
    "a field too many": (f'{{"orders": [{order()}], "priority": 1}}', "priority"),
    "101 orders": ('{"orders": [' + ",".join([order()] * 101) + "]}", "orders"),
    "a body over the limit": (f'{{"orders": [{order()}]}}' + " " * KIB * KIB, "body"),
}
BAD_ACCOUNTS = {
    "malformed JSON": ("}", "body"),
    "a body over the limit": (account() + " " * 32 * KIB, "body"),
    "no customer": (account(customerId=None), "customerId"),
    "a customer of 300 characters": (account(customerId=LONG_ID), "customerId"),
    "neither balance nor adjust": (account(balance=None), "balance"),
    "both balance and adjust": (account(adjust="1"), "balance"),
    "a field too many": (account(held="5"), "held"),
    "a negative balance": (account(balance="-0.01"), "balance"),
    "a balance with three decimals": (account(balance="1.001"), "balance"),
    "a balance that is NaN": (account(balance="NaN"), "balance"),
    "a balance that is too high": (account(balance="1000000000000"), "balance"),
    "a balance that is text": (account(balance='"1"'), "balance"),
    "an adjustment with three decimals": (account(balance=None, adjust="0.001"), "adjust"),
    "an adjustment of 1e400": (account(balance=None, adjust="-1e400"), "adjust"),
}
BAD_STOCK = {
    "malformed JSON": ("pen", "body"),
    "a body over the limit": (stock() + " " * 32 * KIB, "body"),
    "no product": (stock(productId=None), "productId"),
    "a blank product": (stock(productId='""'), "productId"),
    "neither balance nor adjust": (stock(balance=None), "balance"),
    "both balance and adjust": (stock(adjust="1"), "balance"),
    "a negative balance": (stock(balance="-1"), "balance"),
    "a fractional balance": (stock(balance="1.5"), "balance"),
    "a balance that is too high": (stock(balance="1000000001"), "balance"),
    "a fractional adjustment": (stock(balance=None, adjust="0.5"), "adjust"),
    "an adjustment of 5000 digits": (stock(balance=None, adjust="9" * 5000), "adjust"),
}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        pytest.param(path, body, field, id=f"{path[1:]}-{what}")
        for path, bad in (
            ("/order", BAD_ORDERS),
            ("/orders", BAD_BATCHES),
            ("/account", BAD_ACCOUNTS),
            ("/stock", BAD_STOCK),
        )
        for what, (body, field) in bad.items()
    ],
)
def test_invalid_input_gets_a_problem_that_names_the_field(
    shop: StackClient, path: str, body: str, field: str
) -> None:
    assert_problem(shop.post(path, body), 400, field)


def test_all_invalid_fields_are_reported_at_once(shop: StackClient) -> None:
    body = order(customerId='""', items='[{"productId": "pen", "qty": 0}]', totalAmount="NaN", more="1")
    problem = assert_problem(
        shop.post("/order", body), 400, "customerId", "items[0].qty", "totalAmount", "more"
    )
    assert all(error["field"] in problem["detail"] for error in problem["errors"])


@pytest.mark.parametrize(
    ("body", "field"),
    [pytest.param(body, field, id=what) for what, (body, field) in BAD_ORDERS.items() if field != "body"],
)
def test_in_a_batch_the_bad_order_has_the_problem_and_the_batch_is_accepted(
    shop: StackClient, body: str, field: str
) -> None:
    answer = shop.post("/orders", f'{{"orders": [{body}]}}')
    assert answer.status_code == 202
    (entry,) = body_of(answer)["orders"]
    assert [error["field"] for error in entry["problem"]["errors"]] == [f"orders[0].{field}"]


def test_the_response_to_the_largest_invalid_batch_is_short_and_counts_omitted_errors(
    shop: StackClient,
) -> None:
    # given: as many unknown fields as a megabyte holds
    fields = ", ".join(f'"x{number}": 0' for number in range(75_000))
    batch = f'{{"orders": [{order()[:-1]}, {fields}}}]}}'
    assert 1000 * KIB > len(batch) > 900 * KIB
    # when
    answer = shop.request("POST", "/orders", batch)
    # then
    assert len(answer.content) < 256 * KIB
    (entry,) = body_of(answer)["orders"]
    problem = entry["problem"]
    assert 0 < len(problem["errors"]) <= 5
    assert "74,995" in problem["detail"] or "74995" in problem["detail"], problem["detail"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "k" * 256),
        ("Idempotency-Key", "ключ"),
        ("X-Correlation-Id", "c" * 129),
    ],
    ids=["an empty key", "a key of 256 characters", "a key that is not ASCII", "a correlation id too long"],
)
def test_invalid_headers_are_named(shop: StackClient, header: str, value: str) -> None:
    assert_problem(shop.post("/order", order(), **{header: value}), 400, header)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/order/unknown", "There is no such order."),
        ("/order/unknown/status", "There is no such order."),
        ("/account/unknown", "No balance is set for it."),
        ("/stock/unknown", "No balance is set for it."),
        ("/order/no%20id", "Resource not found."),
        ("/account/" + "x" * 300, "Resource not found."),
        ("/account/a%2Fb", "Resource not found."),
        ("/stock/%2569", "Resource not found."),
        ("/webhooks/.%2500000000000000000000000000000000", "Resource not found."),
    ],
)
def test_unknown_resources_are_a_404(shop: StackClient, path: str, detail: str) -> None:
    assert assert_problem(shop.get(path), 404)["detail"] == detail


@pytest.mark.parametrize(("path", "name"), [("/account", "customerId"), ("/stock", "productId")])
def test_there_is_nothing_to_add_to_for_someone_unknown(shop: StackClient, path: str, name: str) -> None:
    assert_problem(shop.post(path, {name: "never-seen", "adjust": 1}), 404)
    assert shop.get(f"{path}/never-seen").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("POST", "/order/unknown/refund"),
        ("PUT", "/"),
    ],
)
def test_an_unknown_route_reaches_no_function(shop: StackClient, method: str, path: str) -> None:
    assert assert_problem(shop.request(method, path), 404)["detail"] == "There is no such route."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/order", "OPTIONS, POST"),
        ("HEAD", "/order", "OPTIONS, POST"),
        ("PUT", "/account", "GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/orders", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/order/unknown", "GET, HEAD, OPTIONS"),
        ("PUT", "/webhooks/unknown", "DELETE, GET, HEAD, OPTIONS"),
        ("POST", "/reports/daily", "GET, HEAD, OPTIONS"),
    ],
)
def test_an_unsupported_method_is_a_405_with_the_allowed_ones(
    shop: StackClient, method: str, path: str, allowed: str
) -> None:
    answer = shop.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    if method == "HEAD":
        assert answer.content == b""
    else:
        assert_problem(answer, 405)


def test_an_unsupported_method_also_needs_a_token(shop: StackClient) -> None:
    assert httpx.put(f"{shop.outputs['apiUrl']}/account", trust_env=False).status_code == 401


def test_head_has_the_headers_of_get(shop: StackClient) -> None:
    alice, pen = shop.new_customer("10.00"), shop.new_product(3)
    order_id = body_of(shop.post("/order", order_body(alice, [(pen, 1)], "1.00")))["orderId"]
    shop.ended(order_id)
    paths = [
        *(f"/order/{order_id}", f"/order/{order_id}/status", f"/orders?customerId={alice}&limit=1"),
        *(f"/account/{alice}", f"/account/{alice}/history", f"/stock/{pen}", f"/stock/{pen}/history"),
        *(f"/webhooks?customerId={alice}", "/reports/daily?from=2026-11-20&to=2026-11-20"),
        *(f"/account?prefix={alice}", f"/stock?prefix={pen}&limit=1"),
        *("/account/unknown", "/orders?limit=0", "/order/unknown?wait=x"),
    ]
    for path in paths:
        got, headed = shop.get(path), shop.request("HEAD", path)
        assert (headed.status_code, headed.content) == (got.status_code, b""), path
        for name in ("Content-Type", "ETag", "Link", "Retry-After"):
            assert headed.headers.get(name) == got.headers.get(name), (path, name)


def test_an_id_is_unescaped_once(shop: StackClient) -> None:
    name = shop.new_customer("10.00") + "@shop+1"
    assert shop.post("/account", {"customerId": name, "balance": 5}).status_code == 200
    escaped = name.replace("@", "%40").replace("+", "%2B")
    assert body_of(shop.get(f"/account/{escaped}"))["customerId"] == name
    assert body_of(shop.get(f"/account/{name}"))["customerId"] == name
    assert_problem(shop.get(f"/account/{escaped.replace('%', '%25')}"), 404)


@pytest.mark.parametrize("path", ["/order", "/orders", "/account", "/stock", "/webhooks"])
def test_another_content_type_is_rejected(shop: StackClient, path: str) -> None:
    answer = shop.post(path, order(), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert "application/json" in assert_problem(answer, 415)["detail"]


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_any_json_content_type_is_accepted(shop: StackClient, media_type: str) -> None:
    assert shop.post("/account", account(), **{"Content-Type": media_type}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/order?wait=5", ("wait",)),
        ("POST", "/orders?a=1&b=2", ("a", "b")),
        ("POST", "/account?dryRun=1", ("dryRun",)),
        ("POST", "/webhooks?x=1&x=2", ("x",)),
        ("DELETE", "/stock/unknown?force=1", ("force",)),
        ("POST", "/order/unknown/cancel?why=mood", ("why",)),
        ("GET", "/order/unknown?wait=0&wait=0", ("wait",)),
        ("GET", "/orders?customerId=a&customerId=a", ("customerId",)),
        ("GET", "/account?customerId=a", ("customerId",)),
        ("GET", "/stock?prefix=a&prefix=b", ("prefix",)),
    ],
)
def test_an_unknown_parameter_is_named(
    shop: StackClient, method: str, path: str, fields: tuple[str, ...]
) -> None:
    assert_problem(shop.request(method, path, content=order() if method == "POST" else None), 400, *fields)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/orders?customerId=a%20b", "customerId"),
        ("/orders?customerId=", "customerId"),
        ("/orders?reason=SOLD_OUT", "reason"),
        ("/orders?status=DONE", "status"),
        ("/orders?from=yesterday", "from"),
        *((f"{path}?limit={limit}", "limit") for path in LISTS for limit in ("0", "101", "x", "")),
        *(
            (f"{path}?cursor={each}", "cursor")
            for path in LISTS
            for each in ("garbage", "YS4uL2I", "%00", "")
        ),
        *((f"{path}?prefix={each}", "prefix") for path in LISTS[1:] for each in ("x" * 65, "a%2Fb", "")),
    ],
)
def test_an_invalid_parameter_of_a_list_is_named(shop: StackClient, path: str, field: str) -> None:
    assert_problem(shop.get(path), 400, field)


def test_a_cursor_is_of_its_own_list(shop: StackClient) -> None:
    _, pen = shop.new_product(), shop.new_product()
    link = shop.get("/stock?prefix=product-&limit=1").headers["Link"]
    cursor = link.partition("cursor=")[2].partition(">")[0]

    assert shop.get(f"/stock?cursor={cursor}&limit=1").status_code == 200
    assert_problem(shop.get(f"/stock?prefix={pen}x&cursor={cursor}"), 400, "cursor")
    assert_problem(shop.get(f"/orders?cursor={cursor}"), 400, "cursor")


def test_a_retry_may_write_a_number_differently(shop: StackClient) -> None:
    pen = shop.new_product(0)
    key = {"Idempotency-Key": f"whole-{pen}"}
    answers = [
        shop.post("/stock", stock(productId=f'"{pen}"', balance=each), **key)
        for each in ("100", "1e2", "100.0")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert shop.units(pen) == Balances.of(100)


def test_a_leap_second_is_a_time(shop: StackClient) -> None:
    alice = shop.new_customer("10.00")
    assert shop.get(f"/account/{alice}?at=2016-12-31T23:59:60Z").status_code == 404  # there was nothing yet
    assert_problem(shop.get(f"/account/{alice}?at=2016-12-30T23:59:60Z"), 400, "at")


def test_a_balance_never_goes_below_zero(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("10.00"), shop.new_product(3)
    # when
    answers = [
        shop.post("/account", f'{{"customerId": "{alice}", "adjust": -10.01}}'),
        shop.post("/stock", f'{{"productId": "{pen}", "adjust": -4}}'),
    ]
    # then
    assert "10.00" in assert_problem(answers[0], 409)["detail"]
    assert "3" in assert_problem(answers[1], 409)["detail"]
    assert (shop.money(alice), shop.units(pen)) == (Balances.of("10.00"), Balances.of(3))


def test_a_balance_never_exceeds_the_maximum(shop: StackClient) -> None:
    # given
    alice = shop.new_customer("999999999999.99")
    # when
    answer = shop.post("/account", {"customerId": alice, "adjust": 1})
    # then
    assert_problem(answer, 409)
    assert shop.money(alice) == Balances.of("999999999999.99")


def test_the_largest_good_order_is_accepted(shop: StackClient) -> None:
    # given
    longest = "x" * 64
    items = [(f"{number:02}{longest[2:]}", 100_000) for number in range(50)]
    # when
    answer = shop.post("/order", order_body(longest, items, "999999999.99"))
    # then
    assert answer.status_code == 202
    ended = shop.ended(body_of(answer)["orderId"])
    assert ended["status"] == "REJECTED"
    assert len(ended["items"]) == 50
