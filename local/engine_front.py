"""The front of the engine's AWS services: the guard, the pages, and stable addresses.

An ASGI application around another one. The rules (engine_guard.py) decide which requests it accepts.
"""

from __future__ import annotations

import hmac
import html
import json
import mimetypes
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from local.engine_console import CONSOLE_PATH
from local.engine_guard import (
    API_PATH,
    DOCS_PATH,
    SESSION_PATH,
    SOCKET_PATH,
    Gate,
    GuardRequest,
    RefusedError,
    Rules,
    is_below,
    key_of,
)

Scope = dict[str, Any]
AsgiMessage = dict[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = ("GET", "HEAD", "OPTIONS")
_READS = ("BatchGet", "Describe", "Get", "List", "Query", "Scan", "TransactGet")  # by the operation's name

# Other sites can't frame the pages.
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

# The site's pages load files from the site only; its theme has inline scripts and styles.
_DOCUMENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)

STACK_FILE = "stack.json"
"""Served with the documentation's pages: the addresses of the stack. It has no secrets."""

_HOME = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Order capture, local engine</title>
<style>body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }}</style>
<h1>Order capture</h1>
<p>A local AWS with the stack of this checkout. Open <a href="{console}">the console</a>, to which the address
that <code>make run</code> prints signs you in; read <a href="{docs}/">the documentation</a>.</p>
<p>The API answers at <code>{api}</code>, WebSocket connections at <code>{socket}</code>.
<code>make token</code> prints an access token.</p>
</html>
"""


@dataclass(frozen=True)
class Deployed:
    """The deployed stack: its APIs' ids, the allowed origin, and the console's app client."""

    api_id: str = ""
    socket_id: str = ""
    stage: str = ""
    allowed_origin: str = ""
    console_client_id: str = ""


class Front:
    """The engine's ASGI application.

    Args:
        verify: returns whether a request's signature is valid.
        console_key: the key that the console exchanges for a token.
        sign_in: signs the operator in with an app client; None if that is not possible yet.
    """

    def __init__(
        self,
        aws: App,
        *,
        rules: Callable[[str], Rules],
        deployed: Callable[[], Deployed],
        verify: Callable[[Scope, bytes], bool],
        own_key: str,
        console_key: str,
        sign_in: Callable[[str], Awaitable[dict[str, Any] | None]],
        docs: Path,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._aws = aws
        self._rules = rules
        self._deployed = deployed
        self._verify = verify
        self._own_key = own_key
        self._console_key = console_key
        self._sign_in = sign_in
        self._docs = docs
        self._status = status
        self.closed = False
        """Whether API calls are rejected, because the engine is stopping."""
        self.open_calls = 0
        """The number of API calls in progress."""
        self.on_change: Callable[[], None] = lambda: None
        """Called for each request that may change something."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._aws(scope, receive, send)
            return
        deployed = self._deployed()
        request = _request(scope)
        try:
            gate = self._rules(deployed.allowed_origin).admit(request)
        except RefusedError as refused:
            await _refuse(scope, receive, send, refused)
            return
        match gate:
            case Gate.PAGE:
                await self._page(scope, _without_body(send) if request.method == "HEAD" else send)
            case Gate.API | Gate.SOCKET:
                await self._call(scope, receive, send, deployed)
            case Gate.SESSION:
                await self._session(request, receive, send, deployed)
            case Gate.AWS:
                await self._signed(scope, receive, send, request)
            case Gate.TOOL if request.path == "/_ministack/status":
                await _answer(send, 200, json.dumps(self._status()), "application/json")
            case Gate.TOOL | Gate.SIGN_IN:
                self._note(request)
                await self._aws(scope, receive, send)

    def _note(self, request: GuardRequest) -> None:
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if request.is_websocket or (request.method not in _READING and not operation.startswith(_READS)):
            self.on_change()

    async def _page(self, scope: Scope, send: Send) -> None:
        if is_below(scope["path"], DOCS_PATH):
            await self._document(scope, send)
        elif scope["path"] == "/":
            host = html.escape(_request(scope).headers["host"])
            page = _HOME.format(
                console=CONSOLE_PATH,
                docs=DOCS_PATH,
                api=f"http://{host}{API_PATH}",
                socket=f"ws://{host}{SOCKET_PATH}",
            )
            await _answer(send, 200, page, "text/html; charset=utf-8")
        else:
            await _answer(send, 404, "", "text/plain")

    async def _document(self, scope: Scope, send: Send) -> None:
        """Serve a file of the documentation's site."""
        name = scope["path"].removeprefix(DOCS_PATH).removeprefix("/") or "index.html"
        folder = self._docs.resolve()
        file = (folder / name.replace("\0", "")).resolve()
        if scope["path"] == DOCS_PATH:  # the pages' links are relative
            await _answer(send, 302, "", "text/plain", Location=f"{DOCS_PATH}/")
        elif name == STACK_FILE:
            await _answer(
                send, 200, json.dumps({"api": API_PATH, "session": SESSION_PATH}), "application/json"
            )
        elif not (folder / "index.html").is_file():
            await _answer(send, 404, "The documentation is not built yet: make docs", "text/plain")
        elif not file.is_relative_to(folder) or not file.is_file():
            await _answer(send, 404, "There is no such page.", "text/plain")
        else:
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            charset = "; charset=utf-8" if kind.startswith("text/") else ""
            policy = {"Content-Security-Policy": _DOCUMENT_POLICY}
            await _answer(send, 200, file.read_bytes(), kind + charset, **policy)

    async def _call(self, scope: Scope, receive: Receive, send: Send, deployed: Deployed) -> None:
        """Serve a call of the stack's API, at its stable path or at the one with its id."""
        root, api_id = (
            (SOCKET_PATH, deployed.socket_id) if scope["type"] == "websocket" else (API_PATH, deployed.api_id)
        )
        if is_below(scope["path"], root):
            if not api_id:
                await _unavailable(
                    scope, receive, send, "No stack is deployed here yet: `make run` deploys it."
                )
                return
            scope = _moved(scope, root, f"/_aws/execute-api/{api_id}/{deployed.stage}")
        if self.closed:
            await _unavailable(
                scope, receive, send, "The engine is being stopped: `make run` starts it again."
            )
            return
        self._note(_request(scope))
        is_call = scope["type"] == "http"  # a WebSocket connection may last for hours
        self.open_calls += is_call
        try:
            await self._aws(scope, receive, send)
        finally:
            self.open_calls -= is_call

    async def _session(self, request: GuardRequest, receive: Receive, send: Send, deployed: Deployed) -> None:
        """Exchange the console's key for a token of the operator."""
        given = _key_in(await _body_of(receive, _MAX_SESSION_BYTES))
        if not hmac.compare_digest(given.encode(), self._console_key.encode()):
            await _problem(
                send, 403, "This is not the engine's key. `make run` prints the console's address."
            )
            return
        if self.closed or not deployed.console_client_id:
            await _problem(send, 503, "No console is deployed here yet: `make run` deploys it.")
            return
        self._note(request)
        token = await self._sign_in(deployed.console_client_id)
        if token is None:
            await _problem(send, 503, "The stack is being set up. Try again in a moment, or run `make run`.")
            return
        await _answer(send, 200, json.dumps(token), "application/json")

    async def _signed(self, scope: Scope, receive: Receive, send: Send, request: GuardRequest) -> None:
        """Serve a call of an AWS API. The engine's own key acts as ministack's administrator."""
        body = await _body_of(receive)
        if body is None:
            return
        if not self._verify(scope, body):
            reason = "The signature is invalid: `make env` prints this engine's credentials."
            await _refuse(scope, receive, send, RefusedError(403, reason))
            return
        self._note(request)
        key = key_of(request.headers["authorization"])
        if key == self._own_key:
            scope = _as_administrator(scope, key)
        given = False

        async def replay() -> AsgiMessage:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._aws(scope, replay, send)


_MAX_SESSION_BYTES = 1024


async def _body_of(receive: Receive, at_most: int | None = None) -> bytes | None:
    """A request's body; None if the client has gone, or it is too large."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if at_most is not None and len(body) > at_most:
            return None
        more = message.get("more_body", False)
    return body


def _key_in(body: bytes | None) -> str:
    """The key that a request for a session has; empty if it has none."""
    try:
        found = json.loads(body or b"")
    except ValueError:
        return ""
    key = found.get("key") if isinstance(found, dict) else None
    # Lone surrogates, which JSON may escape, occur in no key and could not be encoded.
    return key if isinstance(key, str) and key.isascii() else ""


def _request(scope: Scope) -> GuardRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return GuardRequest(
        scope.get("method", "GET"),
        scope["path"],
        scope.get("query_string", b"").decode("latin-1"),
        headers,
        scope["type"] == "websocket",
    )


def _moved(scope: Scope, root: str, to: str) -> Scope:
    """Move a request from below one path to below another."""
    raw = scope.get("raw_path") or b""
    return scope | {
        "path": to + scope["path"].removeprefix(root),
        # If the root itself is percent-encoded, it can't be replaced here, and the decoded path is used.
        "raw_path": to.encode() + raw.removeprefix(root.encode()) if raw.startswith(root.encode()) else None,
    }


_ADMINISTRATOR = b"test"  # ministack's own name for it


def _as_administrator(scope: Scope, key: str) -> Scope:
    headers = [
        (name, value.replace(f"Credential={key}/".encode(), b"Credential=" + _ADMINISTRATOR + b"/"))
        if name.lower() == b"authorization"
        else (name, value)
        for name, value in scope["headers"]
    ]
    return scope | {"headers": headers}


async def _answer(send: Send, status: int, body: str | bytes, media_type: str, **more: str) -> None:
    content = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": media_type, "Content-Length": str(len(content)), **_PAGE_HEADERS, **more}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


def _without_body(send: Send) -> Send:
    async def send_head(message: AsgiMessage) -> None:
        await send(message | ({"body": b""} if message["type"] == "http.response.body" else {}))

    return send_head


async def _unavailable(scope: Scope, receive: Receive, send: Send, detail: str) -> None:
    """Respond with a problem in the API's format."""
    if scope["type"] == "websocket":
        await _refuse(scope, receive, send, RefusedError(503, detail))
        return
    await _problem(send, 503, detail)


async def _problem(send: Send, status: int, detail: str) -> None:
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    await _answer(send, status, json.dumps(problem), "application/problem+json")


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: RefusedError) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    if scope["path"] == SESSION_PATH:
        await _problem(send, refused.status, str(refused))
        return
    # In the form that AWS SDKs parse, which is XML for some services.
    if "urlencoded" in _request(scope).headers.get("content-type", ""):
        error = f"<Code>AccessDenied</Code><Message>{html.escape(str(refused))}</Message>"
        body, media_type = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>", "text/xml"
    else:
        body = json.dumps({"__type": "AccessDeniedException", "message": str(refused)})
        media_type = "application/json"
    await _answer(send, refused.status, body, media_type)
