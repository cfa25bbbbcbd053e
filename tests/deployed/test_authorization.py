"""Authorization of every route of the contract, with every kind of token."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import simplejson
import yaml

from tests.deployed.shop import Balances, StackClient, body_of, eventually, order_body
from tests.deployed.tokens import OWN_POOL, Forger
from tests.support import target
from tests.support.template import ROOT

CONTRACT = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))

# What differs in any two responses.
_ITS_OWN = {
    *("date", "content-length", "x-correlation-id", "x-amzn-requestid", "x-amz-request-id"),
    "connection",  # per connection: a server may close it after any response
}


@dataclass(frozen=True)
class Route:
    """An operation of the contract."""

    method: str
    path: str
    operation: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def scope(self) -> str:
        """The required scope."""
        ((scope,),) = (requirement.values() for requirement in self.operation["security"])
        (name,) = scope
        return str(name)

    @property
    def success(self) -> int:
        """The status of a successful response."""
        return min(int(status) for status in self.operation["responses"])

    def ask(self, shop: StackClient, authorization: str, named: Mapping[str, str]) -> httpx.Response:
        """Send a request, valid except for its token, made from the contract's example."""
        path = re.sub(r"{(\w+)}", lambda name: named[name[1]], self.path)
        requested = {
            parameter["name"]: named.get(parameter["name"]) or parameter["example"]
            for parameter in self.operation["parameters"]
            if parameter.get("in") == "query" and (parameter.get("required") or named.get(parameter["name"]))
        }
        if requested:
            path += f"?{urlencode(requested)}"
        raw: str | None = None
        if "requestBody" in self.operation:
            content = self.operation["requestBody"]["content"]["application/json"]
            raw = simplejson.dumps(_renamed(next(iter(content["examples"].values()))["value"], named))
        return shop.request(self.method, path, raw, Authorization=authorization)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The value with replaced ids."""
    match value:
        case dict():
            return {key: names.get(key) or _renamed(inner, names) for key, inner in value.items()}
        case list():
            return [_renamed(inner, names) for inner in value]
    return value


ROUTES = [
    Route(method.upper(), path, operation)
    for path, operations in CONTRACT["paths"].items()
    for method, operation in operations.items()
    if method in ("get", "put", "post", "delete", "patch")
]
OF_ORDERS = [route for route in ROUTES if route.scope.startswith("orders/")]
OF_OTHERS = [route for route in ROUTES if route not in OF_ORDERS]

BAD_TOKENS = (
    "no token",
    "nothing after Bearer",
    "not a token",
    "another scheme",
    "an expired token",
    "a token signed with another key",
    "a token that brings its own key",
    "a token with a key that the pool does not have",
    "a token that was changed",
    "a token without its signature",
    "alg none",
    "alg none with a signature",
    "HS256 with the public key",
    "a token of another pool",
    "a token of another pool that names this one",
    "an ID token",
    "an access token without our scopes",
    "a refresh token",
)

every_route = pytest.mark.parametrize("route", ROUTES, ids=str)
every_route_of_orders = pytest.mark.parametrize("route", OF_ORDERS, ids=str)


@dataclass(frozen=True)
class Alice:
    """A customer who has ordered a product, which has shipped."""

    name: str
    product: str
    order_id: str
    authorization: str
    webhook_id: str

    @property
    def ids(self) -> dict[str, str]:
        """Her ids for each place in a request."""
        return {
            "customerId": self.name,
            "productId": self.product,
            "orderId": self.order_id,
            "webhookId": self.webhook_id,
            "deliveryId": "0" * 32,
            "queue": "order_update",
        }


UNKNOWN = {"orderId": "no-such-order", "webhookId": f"nobody.{'1' * 32}"}


@pytest.fixture
def alice(shop: StackClient, ordered: Alice) -> Iterator[Alice]:
    """Alice, with a webhook that gets no events: her order has ended."""
    body = {"customerId": ordered.name, "url": "https://shop.example.com/", "eventTypes": ["order.expired"]}
    webhook_id = body_of(shop.post("/webhooks", body))["webhookId"]
    yield dataclasses.replace(ordered, webhook_id=webhook_id)
    shop.request("DELETE", f"/webhooks/{webhook_id}")


@pytest.fixture(scope="module")
def ordered(shop: StackClient) -> Alice:
    name, product = shop.new_customer("100.00"), shop.new_product(50)
    order_id = shop.place(name, {product: 1}, "10.00")
    assert shop.ended(order_id)["status"] == "SHIPPED"
    return Alice(name, product, order_id, shop.bearer(name), "")


@pytest.fixture(scope="module")
def forger(shop: StackClient) -> Forger:
    forger = Forger(shop)
    assert set(forger.tokens) == set(BAD_TOKENS) - (OWN_POOL if target.NAME else set())
    return forger


def assert_unauthenticated(answer: httpx.Response) -> None:
    """Assert the gateway's response to an invalid or insufficient token, which is always the same."""
    assert answer.status_code == 401, answer.text
    problem = body_of(answer)
    request_id = problem.pop("requestId")
    assert problem == {
        "type": "urn:order-capture:problem:unauthenticated",
        "title": "Unauthenticated",
        "status": 401,
        "detail": "An access token with the scope of this operation is needed.",
    }
    headers = {name: value for name, value in answer.headers.items() if name not in _ITS_OWN}
    assert headers == {
        "content-type": "application/problem+json",
        "www-authenticate": "Bearer",
        "access-control-allow-origin": "*",
        "x-amzn-errortype": "UnauthorizedException",
    }
    assert answer.headers["x-amzn-requestid"] == request_id
    assert "x-correlation-id" not in answer.headers, "it has reached a function"


@every_route
@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_an_invalid_token_is_rejected_everywhere(
    shop: StackClient, forger: Forger, alice: Alice, route: Route, bad: str
) -> None:
    answer = route.ask(shop, forger.header(bad), alice.ids)

    assert_unauthenticated(answer)


@every_route
def test_a_token_without_the_scope_is_rejected(
    shop: StackClient, forger: Forger, alice: Alice, route: Route
) -> None:
    answer = route.ask(shop, forger.without(route.scope), alice.ids)

    assert_unauthenticated(answer)


@pytest.mark.parametrize("route", OF_OTHERS, ids=str)
def test_a_customer_can_not_access_accounts_stock_or_reports(
    shop: StackClient, alice: Alice, route: Route
) -> None:
    answer = route.ask(shop, alice.authorization, alice.ids)

    assert_unauthenticated(answer)


def test_a_rejected_request_has_no_effect(shop: StackClient, alice: Alice) -> None:
    shop.come_to_rest()
    assert shop.order(alice.order_id)["status"] == "SHIPPED"
    assert shop.money(alice.name) == Balances.of("90.00", settled="10.00")
    assert shop.units(alice.product) == Balances.of(49, settled=1)


@every_route_of_orders
def test_another_customers_order_is_not_found(shop: StackClient, alice: Alice, route: Route) -> None:
    bob = shop.bearer(shop.new_customer())

    foreign = route.ask(shop, bob, alice.ids)

    if "{orderId}" in route.path or "{webhookId}" in route.path:
        unknown = route.ask(shop, bob, alice.ids | UNKNOWN)
        assert foreign.status_code == unknown.status_code == 404
        assert _of_any_answer(foreign) == _of_any_answer(unknown)
        (kind,) = re.findall(r"{(order|webhook)Id}", route.path)
        assert body_of(foreign)["detail"] == f"There is no such {kind}."
        return
    # Its requests in Alice's name are refused, as a whole or for each order of a batch.
    body = body_of(foreign)
    entries = body["orders"] if foreign.status_code == 202 else [body]
    place = "orders[{}]." if foreign.status_code == 202 else ""
    for index, entry in enumerate(entries):
        problem = entry.get("problem", entry)
        problem.pop("requestId", None)
        assert problem == {
            "type": "urn:order-capture:problem:forbidden",
            "title": "Forbidden",
            "status": 403,
            "detail": "Customers can access only their own orders.",
            "errors": [{"field": f"{place.format(index)}customerId", "message": "must be your own"}],
        }
    assert foreign.status_code in (202, 403)


def _of_any_answer(answer: httpx.Response) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and body, without what differs in any two responses."""
    body = body_of(answer)
    assert body.pop("requestId") == answer.headers["x-correlation-id"]
    return {name: value for name, value in answer.headers.items() if name not in _ITS_OWN}, body


@every_route
def test_a_service_needs_only_the_one_scope(shop: StackClient, alice: Alice, route: Route) -> None:
    service = f"Bearer {shop.tokens.of_service(route.scope)}"
    # What the other tests need is not deleted, and what her orders may hold at this moment could not be.
    new = {"customerId": shop.new_customer(), "productId": shop.new_product(1)}

    answer = route.ask(shop, service, alice.ids | new if route.method == "DELETE" else alice.ids)

    assert_let_in(route, answer)


@every_route_of_orders
def test_a_customer_can_access_their_own_orders(shop: StackClient, alice: Alice, route: Route) -> None:
    answer = route.ask(shop, alice.authorization, alice.ids)

    assert_let_in(route, answer)


def assert_let_in(route: Route, answer: httpx.Response) -> None:
    """It succeeded, except that cancelling is too late and nothing was delivered yet."""
    if route.path.endswith("/replay"):
        assert (answer.status_code, body_of(answer)["detail"]) == (404, "There is no such delivery.")
        return
    too_late = route.path.endswith("/cancel")
    assert answer.status_code == (409 if too_late else route.success), answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "problem" not in answer.text.replace("urn:order-capture:problem:status-conflict", "") or too_late


def test_a_customer_who_names_none_gets_their_own_orders_and_a_service_everybodys(
    shop: StackClient, alice: Alice
) -> None:
    other = shop.place(shop.new_customer(), {alice.product: 1}, "1.00")

    own = body_of(shop.get("/orders?limit=100", Authorization=alice.authorization))["orders"]
    everybodys = eventually(
        lambda: {order["orderId"] for order in body_of(shop.get("/orders?limit=100"))["orders"]},
        lambda found: {other, alice.order_id} <= found,
    )

    assert {order["customerId"] for order in own} == {alice.name}
    assert alice.order_id in {order["orderId"] for order in own}
    assert {other, alice.order_id} <= everybodys


def test_a_token_without_the_bearer_prefix_is_accepted(shop: StackClient, alice: Alice) -> None:
    bare = alice.authorization.removeprefix("Bearer ")

    assert shop.get(f"/order/{alice.order_id}", Authorization=bare).status_code == 200


def test_the_key_of_one_caller_is_not_the_key_of_another(shop: StackClient, alice: Alice) -> None:
    # given
    body = order_body(alice.name, {alice.product: 1}, "1.00")
    key = f"key-of-{alice.order_id}"
    # when
    first = shop.post("/order", body, Idempotency_Key=key)
    second = shop.post("/order", body, Idempotency_Key=key, Authorization=alice.authorization)
    again = shop.post("/order", body, Idempotency_Key=key, Authorization=alice.authorization)
    # then
    assert [answer.status_code for answer in (first, second, again)] == [202, 202, 202]
    assert "Idempotency-Replayed" not in second.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert body_of(first)["orderId"] != body_of(second)["orderId"] == body_of(again)["orderId"]


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_a_preflight_has_what_another_origin_may_send(shop: StackClient, path: str) -> None:
    answer = shop.request("OPTIONS", path, Authorization="", Origin="https://shop.example.com")

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = set(answer.headers["access-control-allow-methods"].split(","))
    assert allowed == {route.method for route in ROUTES if route.path == path}
    assert "Authorization" in answer.headers["access-control-allow-headers"].split(",")


def test_a_too_large_request_is_rejected_by_the_gateway(shop: StackClient) -> None:
    answer = shop.post("/order", b" " * (10 * 1024 * 1024 + 1))

    assert answer.status_code == 413
    # The gateway's own text, which API Gateway does not let us choose.
    assert body_of(answer).keys() == {"message"}
