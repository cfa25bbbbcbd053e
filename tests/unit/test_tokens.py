"""The caller of a request comes only from the claims that the gateway has verified."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture.application.callers import Caller
from order_capture.entrypoints.callers import authorizer_context, caller_from_context, caller_from_event
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.problems import UnauthenticatedError
from tests.support.factories import SERVICE_CLAIMS, api_event, customer_claims


def test_a_service_is_its_client_and_stands_for_every_customer() -> None:
    assert caller_from_event(api_event()) == Caller("service-1", customer_id=None)


def test_a_user_is_the_customer_of_that_name() -> None:
    assert caller_from_event(api_event(claims=customer_claims("alice"))) == Caller("sub-of-alice", "alice")


def in_groups(name: str, groups: object) -> dict[str, Any]:
    return customer_claims(name) | {"cognito:groups": groups}


@pytest.mark.parametrize(
    "groups",
    [
        "operators",  # a REST API's authorizer
        "staff,operators",
        "operators,staff",
        "[operators]",  # an HTTP API's, and the local engine
        "[staff operators night-shift]",
        ["staff", "operators"],  # the token itself
    ],
)
def test_an_operator_acts_for_every_customer(groups: object) -> None:
    caller = caller_from_event(api_event(claims=in_groups("olga", groups)))

    assert caller == Caller("sub-of-olga", customer_id=None)


@pytest.mark.parametrize(
    "groups",
    [
        *("", "[]", [], None, "Operators", "operators2", "no-operators", "operators-of-bob", "my.operators"),
        *("[customers]", "staff,no-operators", "[xoperators operatorsx]", ["operators,staff"]),
    ],
)
def test_whoever_is_in_no_such_group_is_a_customer(groups: object) -> None:
    caller = caller_from_event(api_event(claims=in_groups("bob", groups)))

    assert caller == Caller("sub-of-bob", "bob")


@pytest.mark.parametrize("name", ["operators", "a,operators", "[operators]", "x operators"])
def test_nobody_is_an_operator_by_their_name(name: str) -> None:
    claims = customer_claims(name) | {"email": "operators", "cognito:username": "operators"}

    assert caller_from_event(api_event(claims=claims)).customer_id == name


def test_a_group_makes_no_user_of_who_has_no_name() -> None:
    with pytest.raises(UnauthenticatedError):
        caller_from_event(api_event(claims=in_groups("", "operators")))


@pytest.mark.parametrize("groups", [["operators"], ["staff", "operators"], "operators"])
def test_the_groups_reach_the_functions_behind_an_authorizer_of_ours(groups: object) -> None:
    context = authorizer_context(in_groups("olga", groups))

    assert all(isinstance(value, str) and ":" not in name for name, value in context.items())
    assert caller_from_context(context) == Caller("sub-of-olga", customer_id=None)
    assert caller_from_context(authorizer_context(customer_claims("bob"))) == Caller("sub-of-bob", "bob")


def _ok(_: Request) -> Response:
    return Response({"ok": True})


def status_for(app: RestApi, claims: dict[str, Any], method: str = "GET", path: str = "/") -> int:
    app.get("/")(_ok)
    return int(app.resolve(api_event(method, path, claims=claims), None)["statusCode"])


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("HEAD", "/"), ("POST", "/"), ("GET", "/nowhere")]
)
def test_an_api_is_not_for_customers_unless_it_says_so(method: str, path: str) -> None:
    assert status_for(RestApi(), customer_claims("alice"), method, path) == 403
    assert status_for(RestApi(for_customers=True), customer_claims("alice")) == 200


@pytest.mark.parametrize("claims", [SERVICE_CLAIMS, in_groups("olga", "operators")])
def test_every_api_is_for_services_and_operators(claims: dict[str, Any]) -> None:
    assert status_for(RestApi(), claims) == status_for(RestApi(for_customers=True), claims) == 200


def test_a_customer_is_refused_in_words_that_say_why() -> None:
    answer = RestApi().resolve(api_event(claims=customer_claims("alice")), None)

    problem = json.loads(answer["body"])
    assert problem["type"] == "urn:order-capture:problem:forbidden"
    assert problem["detail"] == "Only services and operators may do this."
    assert "errors" not in problem


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {name: value for name, value in SERVICE_CLAIMS.items() if name != "sub"},
        {name: value for name, value in SERVICE_CLAIMS.items() if name != "token_use"},
        SERVICE_CLAIMS | {"token_use": "id"},
        SERVICE_CLAIMS | {"token_use": "refresh"},
        customer_claims("alice") | {"token_use": "id"},
        customer_claims("alice") | {"sub": ""},
        # a user without a name is not a service
        customer_claims("alice") | {"username": ""},
        {name: value for name, value in customer_claims("alice").items() if name != "username"},
        # an ID token names its user otherwise
        {"sub": "sub-1", "aud": "shop", "token_use": "id", "cognito:username": "alice"},
    ],
)
def test_claims_that_name_nobody_are_refused(claims: dict[str, str]) -> None:
    with pytest.raises(UnauthenticatedError):
        caller_from_event(api_event(claims=claims))


@pytest.mark.parametrize("context", [None, {}, {"authorizer": None}, {"authorizer": {"claims": None}}])
def test_an_event_that_came_past_the_authorizer_is_refused(context: dict[str, Any] | None) -> None:
    with pytest.raises(UnauthenticatedError):
        caller_from_event(api_event() | {"requestContext": context})


def test_under_sam_local_which_enforces_no_authorizer_it_is_a_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SAM_LOCAL", "true")

    assert caller_from_event({}) == Caller("sam-local", customer_id=None)
    # but the remaining claims still count
    assert caller_from_event(api_event(claims=customer_claims("alice"))).customer_id == "alice"
    with pytest.raises(UnauthenticatedError):
        caller_from_event(api_event(claims=SERVICE_CLAIMS | {"token_use": "id"}))


def test_who_is_not_known_gets_a_401_that_asks_for_a_token_and_reaches_no_route() -> None:
    def route(_: Request) -> Response:
        raise AssertionError("no route was asked for")

    app = RestApi()
    app.get("/")(route)
    answer = app.resolve(api_event(claims={}), None)

    assert answer["statusCode"] == 401
    assert "WWW-Authenticate" not in answer["headers"]  # the gateway would rename it; its own 401 has one
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    assert json.loads(answer["body"])["type"] == "urn:order-capture:problem:unauthenticated"


@pytest.mark.parametrize(
    ("caller", "reached"),
    [
        (Caller("s"), True),
        (Caller("s", "alice"), True),
        (Caller("s", "Alice"), False),
        (Caller("s", ""), False),
    ],
)
def test_a_service_reaches_everybody_and_a_customer_exactly_themselves(caller: Caller, reached: bool) -> None:
    assert caller.can_access("alice") is reached
