"""Who may open a WebSocket connection: tokens signed here, by the pool's key and by others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from order_capture.entrypoints import authorizer
from order_capture.entrypoints.invocations import InvocationFailedError

ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_1"
ARN = "arn:aws:execute-api:us-east-1:123456789012:api/v1/$connect"
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "sub-of-alice",
    "username": "alice",
    "client_id": "shop",
    "token_use": "access",
    "scope": "orders/write orders/read",
}


class Pool:
    """The user pool's keys, as fetched."""

    def __init__(self) -> None:
        self.fetched = 0
        self.away = False

    def keys(self, _client: jwt.PyJWKClient) -> Any:
        self.fetched += 1
        if self.away:
            raise jwt.PyJWKClientConnectionError("no answer")
        return {"keys": [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())) | {"kid": "k-1"}]}


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pool = Pool()
    monkeypatch.setenv("TOKEN_ISSUER", ISSUER)
    monkeypatch.setenv("TOKEN_KEYS_URL", f"{ISSUER}/.well-known/jwks.json")

    def fetch(client: jwt.PyJWKClient) -> Any:
        keys = pool.keys(client)
        assert client.uri == f"{ISSUER}/.well-known/jwks.json"
        assert client.jwk_set_cache is not None
        client.jwk_set_cache.put(keys)
        return keys

    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fetch)
    authorizer._keys.cache_clear()
    yield pool
    authorizer._keys.cache_clear()


def token(key: rsa.RSAPrivateKey = KEY, kid: str | None = "k-1", age: int = 0, **changed: Any) -> str:
    now = int(time.time()) - age
    claims = {"iat": now, "exp": now + 60, **GOOD, **changed}
    claims["cognito:groups"] = claims.pop("groups", None)
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, "RS256", {"kid": kid} if kid else None)


def decision(**headers: str) -> tuple[str, dict[str, str]]:
    """Allow or Deny, and the context for the functions."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = authorizer.authorizer_handler("orders/read")({"methodArn": ARN, "headers": named}, None)
    (statement,) = answer["policyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("execute-api:Invoke", ARN)
    return statement["Effect"], answer["context"]


PASSED_ON = {name: GOOD[name] for name in ("sub", "client_id", "token_use", "username")}


def test_a_good_token_is_let_in_and_says_whose_it_is() -> None:
    assert decision(Authorization=f"Bearer {token()}") == ("Allow", PASSED_ON)
    assert decision(authorization=token()) == ("Allow", PASSED_ON)


def test_an_operators_token_says_so() -> None:
    of_operator = token(groups=["staff", "operators"])

    assert decision(Authorization=f"Bearer {of_operator}") == (
        "Allow",
        {**PASSED_ON, "groups": "operators,staff"},
    )


def test_a_services_token_is_let_in() -> None:
    of_service = token(sub="shop", username=None)

    assert decision(Authorization=f"Bearer {of_service}") == (
        "Allow",
        {"sub": "shop", "client_id": "shop", "token_use": "access"},
    )


@pytest.mark.parametrize("offered", ["order-capture, {}", "{},order-capture", "{}"])
def test_a_browser_offers_it_as_a_protocol(offered: str) -> None:
    assert decision(Sec_WebSocket_Protocol=offered.format(token())) == ("Allow", PASSED_ON)


def _hs256() -> str:
    """Signed with a public value, which a careless verifier would take for the key."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    return jwt.encode(claims, ISSUER, "HS256", {"kid": "k-1"})


BAD = {
    "nothing": "",
    "garbage": "garbage",
    "three parts of garbage": "a.b.c",
    "not ASCII": "tökén",
    "another key's": token(OTHER_KEY),
    "of a key that the pool does not have": token(kid="k-2"),
    "of no key": token(kid=None),
    "expired": token(age=61),
    "without an end": token(exp=None),
    "of another issuer": token(iss=f"{ISSUER}2"),
    "without an issuer": token(iss=None),
    "an ID token": token(token_use="id", aud="shop", scope=None),
    "an ID token with a scope": token(token_use="id", aud="shop"),
    "a refresh token": token(token_use="refresh"),
    "without a scope": token(scope=None),
    "with another scope": token(scope="orders/write accounts/read"),
    "with more than the scope": token(scope="orders/read2 xorders/read"),
    "of nobody": token(sub=None),
    "of a user without a name": token(username=None),
    "changed": token()[:-4] + "AAAA",
    "without its signature": token().rpartition(".")[0] + ".",
    "HS256": _hs256(),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_token_is_not_let_in_and_the_reason_is_not_shown(bad: str) -> None:
    assert decision(Authorization=f"Bearer {BAD[bad]}") == ("Deny", {})
    assert decision(Sec_WebSocket_Protocol=f"order-capture, {BAD[bad]}") == ("Deny", {})


def test_no_header_is_not_let_in() -> None:
    assert decision() == ("Deny", {})


def test_a_bad_token_in_the_header_is_not_made_good_by_one_in_the_protocol() -> None:
    assert decision(Authorization="Bearer garbage", Sec_WebSocket_Protocol=token()) == ("Deny", {})


def test_the_keys_are_fetched_once(pool: Pool) -> None:
    for _ in range(3):
        decision(Authorization=f"Bearer {token()}")

    assert pool.fetched == 1


def test_where_the_keys_cannot_be_had_nobody_is_refused_for_it(pool: Pool) -> None:
    pool.away = True

    with pytest.raises(InvocationFailedError, match="PyJWKClientConnectionError"):
        decision(Authorization=f"Bearer {token()}")
