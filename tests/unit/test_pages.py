"""The console's page and its files: exactly these are served, unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from order_capture.entrypoints.http.pages import SCOPES, Pages
from tests.support.factories import api_event

PAGE = "<!doctype html><script src=console/app-Ab12_d-9.js></script>"
FILES = {
    "index.html": PAGE,
    "app-Ab12_d-9.js": "console.log('Grüße')",
    "app-Zx98cv76.css": "body { margin: 0 }",
    "icon.svg": "<svg/>",
    "secret.env": "A=1",
}
CLIENT = {"consoleClientId": "client-1"}
SOCKET, POOL = "wss://socket.example.com", "https://pool.auth.example.com"


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pages:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / "app.py").write_text("outside")
    monkeypatch.setenv("STACK_NAME", "order-capture-dev")
    monkeypatch.setenv("SOCKET_URL", f"{SOCKET}/v1")
    monkeypatch.setenv("SIGN_IN_URL", POOL)
    pages = Pages(folder)
    pages.get("/console")(pages.page)
    pages.get("/console/config.json")(pages.config)
    pages.get("/console/{file}")(pages.file)
    return pages


def ask(
    pages: Pages,
    name: str | None = None,
    method: str = "GET",
    resource: str = "/console/{file}",
    variables: dict[str, str] | None = CLIENT,
    **headers: str,
) -> dict[str, Any]:
    """The response to a client without a token."""
    event = api_event(
        method,
        "/console" if name is None else resource,
        path=None if name is None else {"file": name},
        headers={key.replace("_", "-"): value for key, value in headers.items()},
    )
    event["requestContext"].pop("authorizer")
    return pages.resolve({**event, "stageVariables": variables}, None)


def config(pages: Pages, host: str) -> dict[str, Any]:
    answer = ask(pages, "", resource="/console/config.json", Host=host)
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (200, "application/json")
    assert answer["headers"]["Cache-Control"] == "no-store"
    found: dict[str, Any] = json.loads(answer["body"])
    return found


def test_the_page_is_served_to_everybody_and_never_kept(pages: Pages) -> None:
    answer = ask(pages)

    assert (answer["statusCode"], answer["body"]) == (200, PAGE)
    assert answer["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert answer["headers"]["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("name", "content_type", "caching"),
    [
        ("app-Ab12_d-9.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("app-Zx98cv76.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("icon.svg", "image/svg+xml", "no-cache"),  # the next build's icon has the same name
    ],
)
def test_a_file_is_served_as_what_it_is(pages: Pages, name: str, content_type: str, caching: str) -> None:
    answer = ask(pages, name)

    assert (answer["statusCode"], answer["body"]) == (200, FILES[name])
    assert answer["headers"]["Content-Type"] == content_type
    assert answer["headers"]["Cache-Control"] == caching
    # and not sent again to clients that have it
    tag = answer["headers"]["ETag"]
    again = ask(pages, name, If_None_Match=tag)
    assert (again["statusCode"], again["body"], again["headers"]["ETag"]) == (304, "", tag)
    assert ask(pages, name, If_None_Match='"another"')["statusCode"] == 200


@pytest.mark.parametrize(
    "name",
    [
        *("nothing.js", "", ".", "..", "../app.py", "..%2fapp.py", "%2e%2e%2fapp.py", "/etc/passwd"),
        *("files/icon.svg", "./icon.svg", "icon.svg/", "icon.svg%00", "ICON.SVG", "secret.env", "index.html"),
    ],
)
def test_nothing_else_is_served(pages: Pages, name: str) -> None:
    answer = ask(pages, name)

    assert answer["statusCode"] == 404
    assert answer["headers"]["Content-Type"] == "application/problem+json"


def test_it_runs_only_what_is_served_here_and_calls_only_its_stack(pages: Pages) -> None:
    for answer in (ask(pages), ask(pages, "icon.svg"), ask(pages, "", resource="/console/config.json")):
        headers = answer["headers"]
        assert dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; ")) == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "font-src": "'self'",
            "connect-src": f"'self' {POOL} {SOCKET}",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_the_page_is_told_where_its_stack_is(pages: Pages) -> None:
    assert config(pages, "attacker.example.com") == {
        "local": False,
        "stack": "order-capture-dev",
        "socketUrl": f"{SOCKET}/v1",
        "signIn": {
            "clientId": "client-1",
            "authorizeUrl": f"{POOL}/oauth2/authorize",
            "tokenUrl": f"{POOL}/oauth2/token",
            "logoutUrl": f"{POOL}/logout",
        },
        "scopes": " ".join(SCOPES),
    }


def test_on_the_engine_everything_is_at_the_pages_own_host(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGN_IN_URL")
    monkeypatch.setenv("SOCKET_URL", "/_aws/execute-api/socket-1/v1")

    found = config(pages, "localhost:4567")

    assert (found["local"], found["socketUrl"]) == (
        True,
        "ws://localhost:4567/_aws/execute-api/socket-1/v1",
    )
    assert found["signIn"]["tokenUrl"] == "http://localhost:4567/oauth2/token"
    policy = ask(pages, Host="localhost:4567")["headers"]["Content-Security-Policy"]
    assert "connect-src 'self' http://localhost:4567 ws://localhost:4567;" in policy


@pytest.mark.parametrize("variables", [None, {}, {"consoleClientId": ""}])
def test_a_stack_without_a_console_has_nothing_there(pages: Pages, variables: dict[str, str] | None) -> None:
    answers = [
        ask(pages, variables=variables),
        ask(pages, "icon.svg", variables=variables),
        ask(pages, "nothing.js", variables=variables),
        ask(pages, "", resource="/console/config.json", variables=variables),
    ]

    assert {(answer["statusCode"], json.loads(answer["body"])["detail"]) for answer in answers} == {
        (404, "This stack has no console: its parameter Console is false.")
    }


def test_a_head_is_answered_like_its_get_without_a_body(pages: Pages) -> None:
    assert ask(pages, method="HEAD") == {**ask(pages), "body": ""}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_sent_to_it(pages: Pages, method: str) -> None:
    answer = ask(pages, method=method)

    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_a_page_that_is_not_built_yet_is_not_there(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "files")
    pages.get("/console")(pages.page)

    assert ask(pages)["statusCode"] == 404
