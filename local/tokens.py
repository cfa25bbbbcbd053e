"""Access tokens for a stack, obtained as its clients do; `make token` prints one for the local stack."""

import base64
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from local.engine_console import OPERATOR
from local.stack import describe_named, session
from order_capture_ops.cli import Parser, identifier, run
from order_capture_ops.errors import CommandError, UsageError
from order_capture_ops.stack import DESCRIPTION, Stack, find

# Only this machine can reach the engine, and pages of other sites can't use its sign-in form.
_LOCAL_PASSWORD = "Local-password-1"  # nosec B105

_SPARE_SECONDS = 60  # a token that is about to expire may do so in transit


class TokenError(CommandError):
    """No token could be obtained."""


class Tokens:
    """Fetches tokens, and caches each until it is about to expire."""

    def __init__(self, description: Mapping[str, str]) -> None:
        """For the stack with this description (see `describe`)."""
        self._stack = description
        # The user's proxy must not be used for the loopback interface.
        self._outside = not description["tokenUrl"].startswith("http://127.0.0.1:")
        self._http = httpx.Client(timeout=30, trust_env=self._outside)
        # On other stacks it must be secret; the second part satisfies the pool's policy.
        self._password = secrets.token_urlsafe(24) + "Aa1" if self._outside else _LOCAL_PASSWORD
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}
        self._created: set[str] = set()

    def of_service(self, scopes: str = "") -> str:
        """A token of the service client, with these scopes or by default all of its scopes."""
        return self._token("", scopes)

    def of_customer(self, name: str, scopes: str = "") -> str:
        """A token of the customer with this username, who is created if necessary."""
        return self._token(name, scopes)

    def answer_to_sign_in(self, name: str, scopes: str = "") -> dict[str, Any]:
        """Sign a customer in, and return the OAuth token response.

        Uses the authorization code grant with PKCE, as a browser does: submits the sign-in page's form, and
        exchanges the code.
        """
        self._create_user(name)
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        client = {
            "client_id": self._stack["CustomerClientId"],
            "redirect_uri": self._stack["signInCallbackUrl"],
        }
        request = client | {
            "response_type": "code",
            **({"scope": scopes} if scopes else {}),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = self._stack["signInUrl"].removesuffix("/oauth2/authorize") + "/login"
        form = request | {"username": name, "password": self._password}
        # Separate cookies: the page remembers earlier sign-ins.
        with httpx.Client(timeout=30, trust_env=self._outside) as browser:
            if self._outside:
                # Cognito's page has a CSRF token in a cookie, and requires it in the form.
                browser.get(page, params=request)
                form["_csrf"] = browser.cookies.get("XSRF-TOKEN") or ""
            answer = browser.post(page, params=request, data=form)
        code = parse_qs(urlsplit(answer.headers.get("Location", "")).query).get("code")
        if not code:
            raise TokenError(f"{name} could not sign in ({answer.status_code}): {answer.text[:200]}")
        return self._ask(
            client | {"grant_type": "authorization_code", "code": code[0], "code_verifier": verifier}
        )

    def _token(self, customer: str, scopes: str) -> str:
        token, good_until = self._kept.get((customer, scopes), ("", 0.0))
        if time.monotonic() < good_until:
            return token
        requested = time.monotonic()
        if customer:
            answer = self.answer_to_sign_in(customer, scopes)
        else:
            client = {
                "client_id": self._stack["ServiceClientId"],
                "client_secret": self._stack["serviceClientSecret"],
            }
            scope = {"scope": scopes} if scopes else {}
            answer = self._ask(client | scope | {"grant_type": "client_credentials"})
        token = str(answer["access_token"])
        self._kept[customer, scopes] = token, requested + answer["expires_in"] - _SPARE_SECONDS
        return token

    def _ask(self, form: Mapping[str, str]) -> dict[str, Any]:
        answer = self._http.post(self._stack["tokenUrl"], data=form)
        if answer.status_code != 200:
            raise TokenError(f"no token ({answer.status_code}): {answer.text[:200]}")
        tokens: dict[str, Any] = answer.json()
        return tokens

    def _create_user(self, name: str) -> None:
        pool = session(self._stack).client("cognito-idp", endpoint_url=self._stack.get("endpointUrl"))
        user = {"UserPoolId": self._stack["UserPoolId"], "Username": name}
        try:
            pool.admin_create_user(**user, MessageAction="SUPPRESS")
            self._created.add(name)
        except pool.exceptions.UsernameExistsException:
            # An existing user's password must not change.
            if self._outside and name not in self._created:
                raise TokenError(f"{name} is already a user, whose password would change.") from None
        pool.admin_set_user_password(**user, Password=self._password, Permanent=True)


def main(arguments: list[str] | None = None) -> int:
    """`make token`."""
    parser = Parser(
        prog="make token",
        description="Prints the header with an access token for the stack on the local engine.",
        example='make token CUSTOMER=alice SCOPES="orders/read"',
    )
    parser.add_argument(
        "--customer", type=identifier, help="the customer who signs in (default: the service client)"
    )
    parser.add_argument("--scopes", default="", help="as in 'orders/read orders/write' (default: all)")
    options = parser.parse_args(arguments)
    return run(lambda: _print_token(options.customer or "", " ".join(options.scopes.split())))


def _print_token(customer: str, scopes: str) -> int:
    if customer == OPERATOR:  # it would get the well-known password
        raise UsageError(
            f"CUSTOMER={OPERATOR} is the console's own user: "
            "`make token` without CUSTOMER prints a service's token."
        )
    described = describe(find(None))
    allowed = _scopes(described, "CustomerClientId" if customer else "ServiceClientId")
    if unknown := [scope for scope in scopes.split() if scope not in allowed]:
        raise UsageError(
            f"SCOPES={unknown[0]} is not a scope of a {'customer' if customer else 'service'}.\n"
            f"There are: {', '.join(allowed)}"
        )
    tokens = Tokens(described)
    token = tokens.of_customer(customer, scopes) if customer else tokens.of_service(scopes)
    print(f"Authorization: Bearer {token}")
    return 0


def describe(deployed: Stack) -> Mapping[str, str]:
    """The description of a stack that `Tokens` needs, with the keys of the local stack's description.

    Raises:
        MissingOutputError: an output is missing.
    """
    if not deployed.on_aws:
        described: dict[str, str] = json.loads(DESCRIPTION.read_text())
        return described
    return describe_named(deployed)


def _scopes(described: Mapping[str, str], client: str) -> list[str]:
    """The scopes that a client of the local stack may request."""
    pool = session(described).client("cognito-idp", endpoint_url=described["endpointUrl"])
    found = pool.describe_user_pool_client(UserPoolId=described["UserPoolId"], ClientId=described[client])
    return sorted(found["UserPoolClient"]["AllowedOAuthScopes"])


if __name__ == "__main__":
    sys.exit(main())
