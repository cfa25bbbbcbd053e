"""Tokens that must be refused, made as an attacker would make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from local.tokens import Tokens
from tests.deployed.shop import TIMEOUT, StackClient
from tests.support import target

SCOPES = (
    *("orders/read", "orders/write", "accounts/read", "accounts/write", "stock/read", "stock/write"),
    "reports/read",
)
PASSWORD = "Another-password-1"
# They need app clients, users and pools that must not be created in a real stack.
OWN_POOL = frozenset(
    ("an expired token", "a token of another pool", "an ID token", "an access token without our scopes")
)
OWN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Forger:
    """Has what an attacker may have: a valid token, the pool's public keys, their own pool."""

    def __init__(self, shop: StackClient) -> None:
        self._shop = shop
        self._pools: Any = shop.aws.client("cognito-idp", endpoint_url=shop.endpoint)
        self._pool: str = shop.outputs["UserPoolId"]
        self._good = shop.tokens.of_service()
        self._header, self._claims = (_decoded(part) for part in self._good.split(".")[:2])
        published = f"{self._pools.meta.endpoint_url}/{self._pool}/.well-known/jwks.json"
        keys = httpx.get(published, trust_env=shop.is_outside).json()["keys"]
        self._public = next(key for key in keys if key["kid"] == self._header["kid"])
        ways = {name: make for name, make in self._ways().items() if not target.NAME or name not in OWN_POOL}
        self.tokens = {name: f"Bearer {make()}" for name, make in ways.items()}
        """Each kind of invalid Authorization header, by its fault."""
        self.tokens |= {
            "no token": "",
            "nothing after Bearer": "Bearer",
            "not a token": "Bearer nonsense",
            "another scheme": "Basic " + base64.b64encode(b"alice:secret").decode(),
        }

    def _ways(self) -> dict[str, Callable[[], str]]:
        header, claims, signature = self._good.split(".")
        of_another_key = OWN_KEY.public_key().public_numbers()
        own_jwk = self._public | {"n": _number(of_another_key.n), "e": _number(of_another_key.e)}
        later = {"exp": self._claims["exp"] + 1}
        return {
            "an expired token": self._expired,
            "a token signed with another key": lambda: _signed(self._header, self._claims),
            "a token that brings its own key": lambda: _signed(self._header | {"jwk": own_jwk}, self._claims),
            "a token with a key that the pool does not have": lambda: _signed(
                self._header | {"kid": "mine"}, self._claims
            ),
            "a token that was changed": lambda: f"{header}.{_encoded(self._claims | later)}.{signature}",
            "a token without its signature": lambda: f"{header}.{claims}.",
            "alg none": lambda: f"{_encoded(self._header | {'alg': 'none'})}.{claims}.",
            "alg none with a signature": lambda: (
                f"{_encoded(self._header | {'alg': 'none'})}.{claims}.{signature}"
            ),
            "HS256 with the public key": self._signed_with_the_public_key,
            "a token of another pool": lambda: self._token_of(self._another_pool(), SCOPES),
            "a token of another pool that names this one": lambda: _signed(
                self._header, self._claims | {"client_id": "mine", "sub": "mine"}
            ),
            "an ID token": lambda: self._signed_in()["IdToken"],
            "an access token without our scopes": lambda: self._signed_in()["AccessToken"],
            "a refresh token": lambda: self._shop.tokens.answer_to_sign_in(f"eve-{uuid.uuid4()}")[
                "refresh_token"
            ],
        }

    def header(self, bad: str) -> str:
        """The Authorization header with this fault; skips the test if it can't be made."""
        if bad not in self.tokens:
            pytest.skip(f"not on {target.NAME}: {bad} takes app clients, users or pools of the test's own")
        return self.tokens[bad]

    def without(self, scope: str) -> str:
        """A service's valid header with every scope but this one."""
        return f"Bearer {self._shop.tokens.of_service(' '.join(each for each in SCOPES if each != scope))}"

    def _expired(self) -> str:
        token = self._token_of(
            self._pool, SCOPES, AccessTokenValidity=1, TokenValidityUnits={"AccessToken": "seconds"}
        )
        deadline = time.monotonic() + TIMEOUT
        while _decoded(token.split(".")[1])["exp"] >= time.time():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return token

    def _signed_with_the_public_key(self) -> str:
        """A token that passes a verifier which trusts the token's own algorithm."""
        numbers = rsa.RSAPublicNumbers(*(_from_number(self._public[name]) for name in ("e", "n")))
        pem = numbers.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signed = f"{_encoded(self._header | {'alg': 'HS256'})}.{_encoded(self._claims)}"
        return f"{signed}.{_text(hmac.digest(pem, signed.encode(), hashlib.sha256))}"

    def _another_pool(self) -> str:
        pool: str = self._pools.create_user_pool(PoolName="another")["UserPool"]["Id"]
        for server in ("orders", "accounts", "stock", "reports"):
            scopes = [{"ScopeName": name, "ScopeDescription": name} for name in ("read", "write")]
            self._pools.create_resource_server(UserPoolId=pool, Identifier=server, Name=server, Scopes=scopes)
        return pool

    def _token_of(self, pool: str, scopes: tuple[str, ...], **settings: Any) -> str:
        """A token of a new client of a pool."""
        client = self._pools.create_user_pool_client(
            UserPoolId=pool,
            ClientName="of a test",
            GenerateSecret=True,
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthScopes=list(scopes),
            **settings,
        )["UserPoolClient"]
        return Tokens(
            {
                **self._shop.outputs,
                "ServiceClientId": client["ClientId"],
                "serviceClientSecret": client["ClientSecret"],
            }
        ).of_service()

    def _signed_in(self) -> dict[str, str]:
        """The tokens of a user who signs in by the pool's API, through a client that allows it."""
        client = self._pools.create_user_pool_client(
            UserPoolId=self._pool,
            ClientName="of a test",
            ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"],
        )["UserPoolClient"]["ClientId"]
        user = {"UserPoolId": self._pool, "Username": "mallory"}
        if not self._pools.list_users(UserPoolId=self._pool, Filter='username = "mallory"')["Users"]:
            self._pools.admin_create_user(**user, MessageAction="SUPPRESS")
            self._pools.admin_set_user_password(**user, Password=PASSWORD, Permanent=True)
        result: dict[str, str] = self._pools.admin_initiate_auth(
            UserPoolId=self._pool,
            ClientId=client,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": "mallory", "PASSWORD": PASSWORD},
        )["AuthenticationResult"]
        return result


def _signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    signed = f"{_encoded(header)}.{_encoded(claims)}"
    return f"{signed}.{_text(OWN_KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _encoded(part: dict[str, Any]) -> str:
    return _text(json.dumps(part).encode())


def _decoded(part: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(_bytes(part))
    return values


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _from_number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
