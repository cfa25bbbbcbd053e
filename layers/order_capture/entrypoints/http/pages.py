"""The console's page, files and settings. All of them are public: they contain no customer's data."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from order_capture.application.callers import NOBODY, Caller
from order_capture.config import settings
from order_capture.domain.errors import NotFoundError
from order_capture.entrypoints.http.api import Request, Response, RestApi

SCOPES = (
    *("orders/read", "orders/write", "accounts/read", "accounts/write", "stock/read", "stock/write"),
    *("reports/read", "operations/read", "operations/write"),
)
"""The scopes that the console requests at sign-in: all those of its app client."""

CLIENT_ID = "consoleClientId"
"""The stage variable with the app client's id. A stack without a console has no such client."""

PAGE = "index.html"
# Text only: API Gateway would need configuration for other types. Files of any other type are not served.
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# The build puts a hash of the content into such a name, so that the file of a name never changes.
_HASHED = re.compile(r".+-[A-Za-z0-9_-]{8}\.[a-z]+")
_FOR_EVER, _ASK_EACH_TIME, _NOWHERE = "public, max-age=31536000, immutable", "no-cache", "no-store"


@dataclass(frozen=True, slots=True)
class _File:
    text: str
    content_type: str
    tag: str


class Pages(RestApi):
    """The routes of the console. They need no token, since only the page itself obtains one.

    Args:
        folder: the folder of the built files of the page. They are read once.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = {path.name: _read(path) for path in folder.glob("*") if path.suffix in CONTENT_TYPES}

    def page(self, request: Request) -> Response:
        """The page itself."""
        return self._answer(request, PAGE, _NOWHERE)

    def file(self, request: Request) -> Response:
        """One of the files that the page loads."""
        name = request.path_parameter("file")
        if name == PAGE:  # the page has another URL
            raise _nothing()
        return self._answer(request, name, _FOR_EVER if _HASHED.fullmatch(name) else _ASK_EACH_TIME)

    def config(self, request: Request) -> Response:
        """The stack's settings for the page."""
        _client_id(request)
        return Response(_config(request), headers=_headers(request, _NOWHERE))

    def _caller(self) -> Caller:
        return NOBODY

    def _answer(self, request: Request, name: str, caching: str) -> Response:
        _client_id(request)
        file = self._files.get(name)  # by its whole name: no path is resolved
        if file is None:
            raise _nothing()
        headers = _headers(request, caching) | {"ETag": file.tag}
        if request.etag_matches(file.tag):
            return Response(None, HTTPStatus.NOT_MODIFIED, headers)
        return Response(file.text, headers=headers, content_type=file.content_type)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(
        content.decode(), CONTENT_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    )


def _nothing() -> NotFoundError:
    return NotFoundError("There is no such file.")


def _client_id(request: Request) -> str:
    """The id of the console's app client.

    Raises:
        NotFoundError: the stack has no console.
    """
    client_id = request.stage_variables.get(CLIENT_ID)
    if not client_id:
        raise NotFoundError("This stack has no console: its parameter Console is false.")
    return client_id


def _config(request: Request) -> dict[str, Any]:
    pool = _sign_in_url(request)
    return {
        "local": not settings.sign_in_url,
        "stack": settings.stack_name,
        "socketUrl": _socket_url(request),
        "signIn": {
            "clientId": _client_id(request),
            "authorizeUrl": f"{pool}/oauth2/authorize",
            "tokenUrl": f"{pool}/oauth2/token",
            "logoutUrl": f"{pool}/logout",
        },
        "scopes": " ".join(SCOPES),
    }


def _sign_in_url(request: Request) -> str:
    return settings.sign_in_url or f"http://{_host(request)}"


def _socket_url(request: Request) -> str:
    return urllib.parse.urljoin(f"ws://{_host(request)}", settings.socket_url)


def _host(request: Request) -> str:
    """The host that the page was loaded from. The local engine admits only its own names."""
    return request.headers.get("host", "")


def _headers(request: Request, caching: str) -> dict[str, str]:
    """The headers that let a browser load and run only our own files, and call only this stack."""
    elsewhere = (_origin(_sign_in_url(request)), _origin(_socket_url(request)))
    policy: Mapping[str, str] = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": f"'self' {' '.join(elsewhere)}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Cache-Control": caching,
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
    }


def _origin(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
