"""A named stack: its address, sign-in at Cognito's page, and that no password or data is lost."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from local import tokens
from local.stack import describe_named
from local.tokens import TokenError, Tokens
from order_capture.adapters.operations.stack import Stack
from tests.support import target
from tests.support.target import ProtectedStackError

CSRF = "token-of-the-form"


class CognitoPage(BaseHTTPRequestHandler):
    """Cognito's sign-in page and token endpoint: the form requires the token in the page's cookie."""

    passwords: dict[str, str]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Set-Cookie", f"XSRF-TOKEN={CSRF}; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        form = {
            name: values[0]
            for name, values in parse_qs(
                self.rfile.read(int(self.headers["Content-Length"])).decode()
            ).items()
        }
        body = b""
        if urlsplit(self.path).path == "/oauth2/token":
            body = (
                b'{"access_token": "access", "expires_in": 3600}' if form.get("code") == "a-code" else b"{}"
            )
            self.send_response(200)
        elif (
            form.get("_csrf") == CSRF
            and f"XSRF-TOKEN={CSRF}" in self.headers.get("Cookie", "")
            and self.passwords.get(form["username"]) == form["password"]
        ):
            self.send_response(302)
            self.send_header("Location", "http://localhost:8400/signed-in?code=a-code")
        else:
            self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class FakePool:
    """The user pool, as its administrator calls it."""

    exceptions = boto3.client("cognito-idp", region_name="us-east-1").exceptions

    def __init__(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords

    def admin_create_user(self, *, Username: str, **_: str) -> None:  # noqa: N803 - as boto3 has it
        if Username in self._passwords:
            raise self.exceptions.UsernameExistsException({"Error": {}}, "AdminCreateUser")
        self._passwords[Username] = ""

    def admin_set_user_password(self, *, Username: str, Password: str, **_: Any) -> None:  # noqa: N803
        self._passwords[Username] = Password


@pytest.fixture
def passwords() -> dict[str, str]:
    return {"bob": "Bobs-own-password-1"}


@pytest.fixture
def page(passwords: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    class Session:
        def client(self, *_: object, **__: object) -> FakePool:
            return FakePool(passwords)

    monkeypatch.setattr(tokens, "session", lambda _: Session())
    monkeypatch.setenv("NO_PROXY", "localhost")
    handler = type("Handler", (CognitoPage,), {"passwords": passwords})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"  # by this name it is none of the loopback's addresses
        server.shutdown()


def tokens_of(page: str) -> Tokens:
    return Tokens(
        {
            "tokenUrl": f"{page}/oauth2/token",
            "signInUrl": f"{page}/oauth2/authorize",
            "signInCallbackUrl": "http://localhost:8400/signed-in",
            "CustomerClientId": "client",
            "UserPoolId": "pool",
        }
    )


def test_a_customer_signs_in_with_a_password_that_nobody_knows(page: str, passwords: dict[str, str]) -> None:
    assert tokens_of(page).of_customer("alice") == "access"
    first = passwords["alice"]
    del passwords["alice"]
    assert tokens_of(page).of_customer("alice") == "access"

    assert passwords["alice"] != first
    assert all(re.search(kind, first) for kind in ("[a-z]", "[A-Z]", "[0-9]", ".{12}")), (
        "as the pool wants it"
    )


def test_a_user_who_is_somebody_keeps_the_password(page: str, passwords: dict[str, str]) -> None:
    with pytest.raises(TokenError, match="bob is already a user"):
        tokens_of(page).of_customer("bob")

    assert passwords["bob"] == "Bobs-own-password-1"


OUTPUTS = {
    "ApiUrl": "https://api.example.com/v1",
    "SocketUrl": "wss://socket.example.com/v1",
    "TokenUrl": "https://pool.example.com/oauth2/token",
    "SignInUrl": "https://pool.example.com/oauth2/authorize",
    "UserPoolId": "pool",
    "ServiceClientId": "service",
    "CustomerClientId": "customer",
}


class FakePools:
    """Cognito somewhere."""

    def __init__(self, endpoint: str) -> None:
        self.meta = type("Meta", (), {"endpoint_url": endpoint, "region_name": "eu-west-1"})

    def describe_user_pool_client(self, *, ClientId: str, **_: str) -> dict[str, Any]:  # noqa: N803
        return {"UserPoolClient": {"ClientSecret": f"secret of {ClientId}", "CallbackURLs": ["http://back"]}}


def description(endpoint: str) -> dict[str, str]:
    return describe_named(Stack("shop", OUTPUTS, {}, lambda _: FakePools(endpoint), on_aws=True))


def test_a_stack_on_aws_has_the_addresses_of_its_outputs() -> None:
    described = description("https://cognito-idp.eu-west-1.amazonaws.com")

    assert (described["apiUrl"], described["socketUrl"]) == (OUTPUTS["ApiUrl"], OUTPUTS["SocketUrl"])
    assert (described["tokenUrl"], described["signInUrl"]) == (OUTPUTS["TokenUrl"], OUTPUTS["SignInUrl"])
    assert described["serviceClientSecret"] == "secret of service"
    assert "endpointUrl" not in described, "the user's own session knows where AWS is"


def test_a_stack_on_an_engine_has_the_addresses_of_that() -> None:
    described = description("http://127.0.0.1:4711")

    assert described["apiUrl"] == "http://127.0.0.1:4711/v1"
    assert described["socketUrl"] == "ws://127.0.0.1:4711/ws/v1"
    assert described["tokenUrl"] == "http://127.0.0.1:4711/oauth2/token"


@pytest.mark.parametrize("protected", ["true", "false"])
def test_tests_write_to_no_stack_that_is_protected(monkeypatch: pytest.MonkeyPatch, protected: str) -> None:
    pools = FakePools("https://cognito-idp.eu-west-1.amazonaws.com")
    parameters = {"DeletionProtection": protected}
    monkeypatch.setattr(target, "find", lambda name: Stack(name, OUTPUTS, parameters, lambda _: pools, True))

    if protected == "true":
        with pytest.raises(ProtectedStackError, match="order-capture-prod is protected against deletion"):
            target.describe("order-capture-prod")
    else:
        assert target.describe("order-capture-dev")["stackName"] == "order-capture-dev"
