"""The console's session on the local engine, for the address with a key that `make run` prints.

The key in that address, and the password of its user, are derived from the engine's secret: they are random,
and last as long as its data. The engine signs that user in as a browser would, and returns only the token
that the user pool then issues.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from local.engine_guard import API_PATH

CONSOLE_PATH = f"{API_PATH}/console"
OPERATOR = "operator"
"""The user whom the key signs in. `local.stack` creates them, in the group of operators."""


def console_key(secret: str) -> str:
    """The key of an engine's console, distinct from its other credentials."""
    return _derived(secret, "the console's key")


def operator_password(secret: str) -> str:
    """The password of the user `operator`, which satisfies the user pool's policy."""
    return f"Aa1-{_derived(secret, 'the password of the operator')}"


def _derived(secret: str, purpose: str) -> str:
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


async def sign_in(
    aws: Callable[..., Awaitable[None]], client_id: str, port: int, secret: str
) -> dict[str, Any] | None:
    """Sign the operator in: the authorization code grant with PKCE, within the engine's own process.

    Returns:
        The user pool's response, without fields that only the page's own sign-in uses; None if the user can't
        sign in, because the stack is not set up yet.
    """
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    client = {"client_id": client_id, "redirect_uri": f"http://127.0.0.1:{port}{CONSOLE_PATH}"}
    form = client | {
        "response_type": "code",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "username": OPERATOR,
        "password": operator_password(secret),
    }
    _, headers, _ = await _post(aws, port, "/login", form)
    code = parse_qs(urlsplit(headers.get("location", "")).query).get("code")
    if not code:
        return None
    form = client | {"grant_type": "authorization_code", "code": code[0], "code_verifier": verifier}
    status, _, body = await _post(aws, port, "/oauth2/token", form)
    if status != 200:
        return None
    answer = json.loads(body)
    return {name: answer[name] for name in ("access_token", "expires_in", "token_type")}


async def _post(
    aws: Callable[..., Awaitable[None]], port: int, path: str, form: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Send a form to the services behind the front: the response's status, headers and body."""
    content = urlencode(form).encode()
    headers = {
        "host": f"127.0.0.1:{port}",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": str(len(content)),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", port),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await aws(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    return start["status"], named, b"".join(message.get("body", b"") for message in sent)
