"""The rules for the requests that the engine accepts, independent of the server.

Any page in a browser can send requests to the loopback interface. So the engine's AWS APIs, which run code as
the developer, accept only requests signed by the project's tools and functions. Only the pages, and what is
public on AWS, are open to all.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qsl

API_PATH = "/v1"
"""The stable path of the deployed REST API. Bucket names can't be so short."""

SOCKET_PATH = "/ws/v1"
"""The stable path of the WebSocket API."""

DOCS_PATH = "/_docs"
"""The documentation site's root path."""

SESSION_PATH = "/_console/session"
"""Where the console exchanges its key for a token."""

TOOL_HEADER = "x-engine-secret"
"""Contains the secret access key, for the project's tools. A page can't send it without a preflight."""


class Gate(Enum):
    """What an accepted request may reach."""

    PAGE = auto()
    API = auto()
    SOCKET = auto()
    SIGN_IN = auto()
    SESSION = auto()
    """The key must still be verified."""
    TOOL = auto()
    AWS = auto()
    """The signature must still be verified."""


class RefusedError(Exception):
    """A request is rejected; the message says what is allowed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class GuardRequest:
    """A request, as the rules need it. Header names are in lower case, repeated values joined by commas."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    is_websocket: bool = False


@dataclass(frozen=True)
class Rules:
    """The rules of one engine.

    `other_hosts` are hostnames by which a relay reaches it, with any port. `allowed_origin` is the deployed
    stack's parameter of that name.
    """

    port: int
    secret: str
    other_hosts: frozenset[str] = frozenset()
    allowed_origin: str = ""

    def admit(self, request: GuardRequest) -> Gate:
        """Decide what a request may reach.

        Raises:
            RefusedError: it is rejected.
        """
        self._check_host(request)
        gate = _gate(request)
        if gate is Gate.PAGE and request.method not in ("GET", "HEAD"):
            raise RefusedError(405, "This page is read-only: use GET or HEAD.")
        if gate is Gate.SOCKET:
            self._check_socket(request)
        if gate in (Gate.TOOL, Gate.AWS) or (gate is Gate.SIGN_IN and _is_form(request)):
            self._check_sender(request)
        if gate is Gate.TOOL:
            self._check_secret(request)
        if gate is Gate.SESSION:
            self._check_console(request)
        if gate is Gate.AWS:
            _check_signed(request)
        return gate

    def _check_host(self, request: GuardRequest) -> None:
        # DNS rebinding: an attacker's hostname that resolves to this machine makes their page same-origin.
        host = request.headers.get("host", "")
        name, _, port = host.rpartition(":")
        ours = name in ("127.0.0.1", "localhost") and port == str(self.port)
        if not ours and name not in self.other_hosts:
            raise RefusedError(421, f"The engine answers as 127.0.0.1:{self.port} or localhost:{self.port}.")

    def _check_sender(self, request: GuardRequest) -> None:
        """Reject requests of other sites' pages, which browsers mark in either of these headers."""
        if self._is_foreign(request.headers.get("origin", "")):
            raise RefusedError(403, "Pages of other origins may not request this.")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RefusedError(403, "Pages of other sites may not request this.")

    def _check_console(self, request: GuardRequest) -> None:
        """Require a request from a script of the console's own page: of exactly this origin.

        A page of another origin can't send that Origin, nor send JSON without a preflight.
        """
        if request.method != "POST":
            raise RefusedError(405, "Request a session with POST.")
        origin = request.headers.get("origin", "")
        if not origin or self._is_foreign(origin) or origin != f"http://{request.headers['host']}":
            raise RefusedError(403, "Only the console itself, at the engine's own address, may request this.")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise RefusedError(403, "Only the console itself may request this.")
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise RefusedError(415, "The body must be JSON, with Content-Type: application/json.")

    def _check_socket(self, request: GuardRequest) -> None:
        # The same-origin policy does not cover WebSocket connections, so the server must check the origin.
        origin = request.headers.get("origin", "")
        if self._is_foreign(origin) and self.allowed_origin not in ("*", origin):
            raise RefusedError(403, "The stack's parameter AllowedOrigin names another origin.")

    def _is_foreign(self, origin: str) -> bool:
        own = (f"http://127.0.0.1:{self.port}", f"http://localhost:{self.port}")
        return bool(origin) and origin not in own

    def _check_secret(self, request: GuardRequest) -> None:
        given = request.headers.get(TOOL_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.secret.encode()):
            raise RefusedError(403, "Only the project's own tools may request this.")


# Exactly what the engine treats as a call of an API, so that nothing else passes as one.
_EXECUTE_API = re.compile(r"/_aws/execute-api/[a-z0-9]+/[A-Za-z0-9_-]+(?P<rest>/.*)?", re.DOTALL)
# The AWS API for sending to WebSocket connections, below the same path as the stack's own API.
_CONNECTIONS = "/@connections"
# A pool's id has an underscore, which bucket names can't have.
_WELL_KNOWN = re.compile(r"/[a-z0-9-]+_[A-Za-z0-9]+/\.well-known/(jwks\.json|openid-configuration)")
_PAGES = ("/", "/favicon.ico", DOCS_PATH)
# The methods by path, as on AWS, for signing users in from a browser.
_SIGN_IN = {
    "/login": ("POST",),
    "/logout": ("GET",),
    "/oauth2/authorize": ("GET",),
    "/oauth2/login": ("POST",),
    "/oauth2/token": ("POST",),
    "/oauth2/userInfo": ("GET", "POST"),
}


def is_below(path: str, root: str) -> bool:
    """Whether a path is the root or below it."""
    return path == root or path.startswith(root + "/")


def _gate(request: GuardRequest) -> Gate:
    path = request.path
    if request.is_websocket:
        if path == SOCKET_PATH or _EXECUTE_API.fullmatch(path):
            return Gate.SOCKET
        raise RefusedError(403, f"WebSocket connections are made to {SOCKET_PATH}.")
    if path.startswith(("/_ministack/", "/_localstack/")):
        return Gate.TOOL
    signed = request.headers.get("authorization", "").startswith("AWS4-")
    if path == SESSION_PATH:
        return Gate.SESSION
    if match := _EXECUTE_API.fullmatch(path):
        return Gate.AWS if (match["rest"] or "").startswith(_CONNECTIONS) else Gate.API
    if is_below(path, API_PATH) and not signed and not path.startswith(API_PATH + _CONNECTIONS):
        return Gate.API
    if (path in _PAGES or is_below(path, DOCS_PATH)) and not signed:
        return Gate.PAGE
    if request.method in _SIGN_IN.get(path, ()) or (request.method == "GET" and _WELL_KNOWN.fullmatch(path)):
        return Gate.SIGN_IN
    return Gate.AWS


def _is_form(request: GuardRequest) -> bool:
    return request.path in ("/login", "/oauth2/login")


_IN_QUERY = {"x-amz-algorithm", "x-amz-credential", "x-amz-signature", "awsaccesskeyid", "signature"}


def _check_signed(request: GuardRequest) -> None:
    """Require a signature in a header, which links and forms can't send, and reject presigned URLs."""
    if _IN_QUERY & {name.lower() for name, _ in parse_qsl(request.query, keep_blank_values=True)}:
        raise RefusedError(403, "Presigned URLs are not supported: sign the request in its header.")
    if not key_of(request.headers.get("authorization", "")):
        raise RefusedError(403, "Sign the request (Signature Version 4): `make env` prints the credentials.")


_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256\s+(?:.*,\s*)?Credential=([^/,\s]+)/.+", re.DOTALL)


def key_of(authorization: str) -> str:
    """The access key id of a Signature Version 4 Authorization header; empty if there is none."""
    match = _AUTHORIZATION.fullmatch(authorization)
    return match[1] if match else ""
