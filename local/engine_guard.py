"""Who may ask the engine for what: the rules, without a server.

Any page that a browser shows can send requests to the loopback interface. So the engine's AWS APIs, which run
code as the developer, take requests that our own tools and functions have signed, and nothing else; open to
everybody is what is open on AWS as well, and the pages.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qsl

API_PATH = "/v1"
"""Where the REST API of the deployed stack is, whatever its id. No bucket can have so short a name."""

SOCKET_PATH = "/ws/v1"
"""Likewise the WebSocket API."""

DOCS_PATH = "/_docs"
TOOL_HEADER = "x-engine-secret"
"""Carries the secret access key to what is for our tools only. No page can send it: a browser asks first."""


class Gate(Enum):
    """What a request is let in to."""

    PAGE = auto()
    API = auto()
    SOCKET = auto()
    SIGN_IN = auto()
    TOOL = auto()
    AWS = auto()
    """Its signature is still to be verified."""


class RefusedError(Exception):
    """A request that is not let in; the text says what is allowed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What the rules look at. Headers have lower-case names, several values of one name joined by a comma."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    is_websocket: bool = False


@dataclass(frozen=True)
class Rules:
    """The rules of one engine.

    `other_hosts` are names under which it is reached through a relay, with any port. `allowed_origin` is the
    deployed stack's parameter of that name.
    """

    port: int
    secret: str
    other_hosts: frozenset[str] = frozenset()
    allowed_origin: str = ""

    def admit(self, request: Request) -> Gate:
        """What the request is let in to.

        Raises:
            RefusedError: nothing.
        """
        self._check_host(request)
        gate = _gate(request)
        if gate is Gate.PAGE and request.method not in ("GET", "HEAD"):
            raise RefusedError(405, "This page is for reading: GET or HEAD.")
        if gate is Gate.SOCKET:
            self._check_socket(request)
        if gate in (Gate.TOOL, Gate.AWS) or (gate is Gate.SIGN_IN and _is_form(request)):
            self._check_sender(request)
        if gate is Gate.TOOL:
            self._check_secret(request)
        if gate is Gate.AWS:
            _check_signed(request)
        return gate

    def _check_host(self, request: Request) -> None:
        # A name of the attacker's that leads to this machine (DNS rebinding) makes their page one of ours.
        host = request.headers.get("host", "")
        name, _, port = host.rpartition(":")
        ours = name in ("127.0.0.1", "localhost") and port == str(self.port)
        if not ours and name not in self.other_hosts:
            raise RefusedError(421, f"The engine answers as 127.0.0.1:{self.port} or localhost:{self.port}.")

    def _check_sender(self, request: Request) -> None:
        """Nothing of another site's page: browsers say whose request it is, in one header or the other."""
        if self._is_foreign(request.headers.get("origin", "")):
            raise RefusedError(403, "Pages of other origins may not ask for this.")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RefusedError(403, "Pages of other sites may not ask for this.")

    def _check_socket(self, request: Request) -> None:
        # The same-origin policy does not hold for WebSocket connections: the server has to look.
        origin = request.headers.get("origin", "")
        if self._is_foreign(origin) and self.allowed_origin not in ("*", origin):
            raise RefusedError(403, "The stack's parameter AllowedOrigin names another origin.")

    def _is_foreign(self, origin: str) -> bool:
        own = (f"http://127.0.0.1:{self.port}", f"http://localhost:{self.port}")
        return bool(origin) and origin not in own

    def _check_secret(self, request: Request) -> None:
        given = request.headers.get(TOOL_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.secret.encode()):
            raise RefusedError(403, "This is for the project's own tools.")


# Exactly what the engine takes for a call of an API, so that nothing else comes in under its name.
_EXECUTE_API = re.compile(r"/_aws/execute-api/[a-z0-9]+/[A-Za-z0-9_-]+(?P<rest>/.*)?", re.DOTALL)
# What sends to WebSocket connections is an API of AWS, below the same path as what is called.
_CONNECTIONS = "/@connections"
# A pool's id has an underscore, which no bucket's name has.
_WELL_KNOWN = re.compile(r"/[a-z0-9-]+_[A-Za-z0-9]+/\.well-known/(jwks\.json|openid-configuration)")
_PAGES = ("/", "/favicon.ico", DOCS_PATH)
# By path, what is asked there: as on AWS, by browsers that sign somebody in.
_SIGN_IN = {
    "/login": ("POST",),
    "/logout": ("GET",),
    "/oauth2/authorize": ("GET",),
    "/oauth2/login": ("POST",),
    "/oauth2/token": ("POST",),
    "/oauth2/userInfo": ("GET", "POST"),
}


def is_below(path: str, root: str) -> bool:
    """Whether a path is this one or one of those below it."""
    return path == root or path.startswith(root + "/")


def _gate(request: Request) -> Gate:
    path = request.path
    if request.is_websocket:
        if path == SOCKET_PATH or _EXECUTE_API.fullmatch(path):
            return Gate.SOCKET
        raise RefusedError(403, f"WebSocket connections are made to {SOCKET_PATH}.")
    if path.startswith(("/_ministack/", "/_localstack/")):
        return Gate.TOOL
    signed = request.headers.get("authorization", "").startswith("AWS4-")
    if match := _EXECUTE_API.fullmatch(path):
        return Gate.AWS if (match["rest"] or "").startswith(_CONNECTIONS) else Gate.API
    if is_below(path, API_PATH) and not signed and not path.startswith(API_PATH + _CONNECTIONS):
        return Gate.API
    if path in _PAGES and not signed:
        return Gate.PAGE
    if request.method in _SIGN_IN.get(path, ()) or (request.method == "GET" and _WELL_KNOWN.fullmatch(path)):
        return Gate.SIGN_IN
    return Gate.AWS


def _is_form(request: Request) -> bool:
    return request.path in ("/login", "/oauth2/login")


_IN_QUERY = {"x-amz-algorithm", "x-amz-credential", "x-amz-signature", "awsaccesskeyid", "signature"}


def _check_signed(request: Request) -> None:
    """Signed in a header, which no link and no form can carry; an address with a signature in it is one."""
    if _IN_QUERY & {name.lower() for name, _ in parse_qsl(request.query, keep_blank_values=True)}:
        raise RefusedError(403, "Presigned addresses are not taken here: sign the request in its header.")
    if not key_of(request.headers.get("authorization", "")):
        raise RefusedError(403, "Sign the request (Signature Version 4): `make env` prints the credentials.")


_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256\s+(?:.*,\s*)?Credential=([^/,\s]+)/.+", re.DOTALL)


def key_of(authorization: str) -> str:
    """The access key id that an Authorization header of Signature Version 4 names, or nothing."""
    match = _AUTHORIZATION.fullmatch(authorization)
    return match[1] if match else ""
