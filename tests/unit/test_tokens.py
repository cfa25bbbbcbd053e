"""Who sends a request is read from the claims that the gateway has verified, and nobody is made up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from order_capture.application.callers import Caller
from order_capture.entrypoints.callers import caller_from_event
from order_capture.entrypoints.http.api import Request, Response, RestApi
from order_capture.entrypoints.http.problems import UnauthenticatedError
from tests.support.factories import SERVICE_CLAIMS, api_event, customer_claims


def test_a_service_is_its_client_and_stands_for_every_customer() -> None:
    assert caller_from_event(api_event()) == Caller("service-1", customer_id=None)


def test_a_user_is_the_customer_of_that_name() -> None:
    assert caller_from_event(api_event(claims=customer_claims("alice"))) == Caller("sub-of-alice", "alice")


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
        # a user without a name is no service
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
    # but what claims there are still count
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
