"""The console as the stack serves it, and what its app client's tokens allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local import stack
from local.engine import Engine
from local.tokens import Tokens
from order_capture.entrypoints.http.pages import SCOPES
from tests.deployed.shop import StackClient, body_of
from tests.deployed.test_authorization import OF_ORDERS, OF_OTHERS, Route, assert_let_in
from tests.support.target import needs_own_engine


@pytest.fixture(scope="module")
def console(shop: StackClient) -> Tokens:
    """Sign-in at the pool's own page, with the console's app client."""
    page = shop.outputs.get("ConsoleUrl") or shop.outputs["apiUrl"] + "/console"
    client = {"CustomerClientId": shop.outputs["ConsoleClientId"], "signInCallbackUrl": page}
    return Tokens({**shop.outputs, **client})


def session(engine: Engine, key: str, **headers: str) -> httpx.Response:
    """The request with which the console's page exchanges the key in its address."""
    sent = {"Origin": engine.url, "Sec-Fetch-Site": "same-origin"} | headers
    return httpx.post(f"{engine.url}/_console/session", json={"key": key}, headers=sent, trust_env=False)


def key_of(outputs: Mapping[str, str]) -> str:
    return urlsplit(outputs["consoleUrl"]).fragment.removeprefix("key=")


def ids_of(shop: StackClient, customer: str) -> dict[str, str]:
    return {
        "customerId": customer,
        "productId": shop.new_product(9),
        "orderId": "no-such-order",
        "webhookId": f"nobody.{'1' * 32}",
        "deliveryId": "0" * 32,
        "queue": "order_update",
    }


def test_the_page_is_served_with_what_it_loads(shop: StackClient) -> None:
    page = shop.get("/console", Authorization="")

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "access-control-allow-origin" not in page.headers, "no other page is to read it"
    names = [part.split('"')[0] for part in page.text.split('"console/')[1:]]
    assert any(name.endswith(".js") for name in names)
    for name in names:
        file = shop.get(f"/console/{name}", Authorization="")
        assert file.status_code == 200
        is_hashed = "-" in name  # the icon's name stays the same
        assert file.headers["cache-control"] == (
            "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        )
    head = shop.request("HEAD", "/console", Authorization="")
    assert (head.status_code, head.content) == (200, b"")
    assert shop.post("/console", {}, Authorization="").status_code == 405


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2fapp.py", "%2e%2e", "app.py"])
def test_nothing_else_is_served(shop: StackClient, name: str) -> None:
    assert shop.get(f"/console/{name}", Authorization="").status_code == 404


def test_the_page_learns_where_its_stack_is(shop: StackClient, engine: Engine) -> None:
    config: dict[str, Any] = body_of(shop.get("/console/config.json", Authorization=""))

    assert config["local"] is True
    assert config["stack"] == shop.outputs["stackName"]
    assert config["signIn"] == {
        "clientId": shop.outputs["ConsoleClientId"],
        "authorizeUrl": f"{engine.url}/oauth2/authorize",
        "tokenUrl": f"{engine.url}/oauth2/token",
        "logoutUrl": f"{engine.url}/logout",
    }
    assert config["scopes"].split() == list(SCOPES)
    assert config["socketUrl"].startswith(f"ws://127.0.0.1:{engine.port}/")


def test_its_key_signs_the_operator_in_who_acts_for_every_customer(shop: StackClient, engine: Engine) -> None:
    # given
    alice = shop.new_customer("7.00")
    # when
    answer = session(engine, key_of(shop.outputs))
    # then
    assert answer.status_code == 200
    token = answer.json()
    assert token.keys() == {"access_token", "expires_in", "token_type"}
    bearer = f"Bearer {token['access_token']}"
    assert body_of(shop.get(f"/account/{alice}", Authorization=bearer))["balance"] == 7
    listed = shop.get(f"/orders?customerId={alice}", Authorization=bearer)
    assert listed.status_code == 200


@pytest.mark.parametrize(
    ("key", "headers", "status"),
    [
        ("", {}, 403),
        ("0" * 64, {}, 403),
        ("right", {"Origin": "http://attacker.example"}, 403),
        ("right", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("right", {"Host": "rebound.example"}, 421),
        ("right", {"Content-Type": "text/plain"}, 415),
    ],
)
def test_nobody_else_is_signed_in(
    shop: StackClient, engine: Engine, key: str, headers: dict[str, str], status: int
) -> None:
    answer = session(engine, key_of(shop.outputs) if key == "right" else key, **headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.json().keys() == {"type", "title", "status", "detail"}


def test_the_key_is_in_no_log(shop: StackClient, engine: Engine) -> None:
    session(engine, key_of(shop.outputs))

    assert key_of(shop.outputs) not in (engine.home / "log").read_text(errors="replace")


@pytest.mark.parametrize("route", OF_OTHERS, ids=str)
def test_a_customer_of_the_console_is_refused_what_is_for_operators(
    shop: StackClient, console: Tokens, route: Route
) -> None:
    alice = shop.new_customer("7.00")
    assert route.scope in SCOPES

    answer = route.ask(shop, f"Bearer {console.of_customer(alice)}", ids_of(shop, alice))

    assert (answer.status_code, body_of(answer)["detail"]) == (
        403,
        "Only services and operators may do this.",
    )
    assert shop.money(alice).balance == 7


def test_a_customer_of_the_console_reaches_their_own_orders_only(shop: StackClient, console: Tokens) -> None:
    alice, bob = shop.new_customer(), shop.new_customer()
    bearer = f"Bearer {console.of_customer(alice)}"

    for path in ("/orders", "/webhooks"):
        assert shop.get(f"{path}?customerId={alice}", Authorization=bearer).status_code == 200
        assert shop.get(f"{path}?customerId={bob}", Authorization=bearer).status_code == 403


@needs_own_engine("nobody there is to be named like the group")
def test_a_customer_who_is_named_like_the_group_is_no_operator(shop: StackClient, console: Tokens) -> None:
    bearer = f"Bearer {console.of_customer('operators')}"

    assert shop.get(f"/account/{shop.new_customer()}", Authorization=bearer).status_code == 403


@pytest.mark.parametrize("route", [*OF_ORDERS, *OF_OTHERS], ids=str)
def test_an_operator_may_do_everything(shop: StackClient, engine: Engine, route: Route) -> None:
    alice = shop.new_customer()
    bearer = f"Bearer {session(engine, key_of(shop.outputs)).json()['access_token']}"

    answer = route.ask(shop, bearer, ids_of(shop, alice))

    if "{orderId}" in route.path or "{webhookId}" in route.path:
        assert (answer.status_code, body_of(answer)["title"]) == (404, "Not found")
    else:
        assert_let_in(route, answer)


def test_whoever_leaves_the_group_is_a_customer_again(
    shop: StackClient, engine: Engine, console: Tokens
) -> None:
    pool = stack.session(engine).client("cognito-idp", endpoint_url=engine.url)
    olga = shop.new_customer()
    user = {"UserPoolId": shop.outputs["UserPoolId"], "Username": olga}
    statuses = []
    for change in (None, pool.admin_add_user_to_group, pool.admin_remove_user_from_group):
        if change is None:
            console.of_customer(olga)  # creates the user
        else:
            change(**user, GroupName="operators")
        token = console.answer_to_sign_in(olga)["access_token"]
        answer = shop.get(f"/account/{olga}", Authorization=f"Bearer {token}")
        statuses.append(answer.status_code)
    assert statuses == [403, 200, 403]
