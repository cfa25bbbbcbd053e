"""The front of the local engine: which requests reach the services, and with which identity."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from local.engine_console import OPERATOR, console_key, operator_password, sign_in
from local.engine_front import AsgiMessage, Deployed, Front, Receive, Scope, Send
from local.engine_guard import Rules

HOST = "127.0.0.1:4566"
SIGNED = "AWS4-HMAC-SHA256 Credential=AKIAOURS/20261128/us-east-1/sns/aws4_request, Signature=0"
DEPLOYED = Deployed("0a1b2c3d", "4e5f6071", "v1", "*", "client-1")
KEY = console_key("secret")
CONSOLE = {"origin": f"http://{HOST}", "content_type": "application/json"}
TOKEN = {"access_token": "token", "expires_in": 900, "token_type": "Bearer"}


class FakeEngine:
    """A front, fake services behind it that record requests, and a client."""

    def __init__(self, docs: Path, deployed: Deployed = DEPLOYED, *, good: bool = True) -> None:
        self.reached: list[Scope] = []
        self.bodies: list[bytes] = []
        self.changes = 0
        self.signed_in: list[str] = []
        self.is_set_up = True
        self.front = Front(
            self._services,
            rules=lambda origin: Rules(4566, "secret", allowed_origin=origin),
            deployed=lambda: deployed,
            verify=lambda scope, body: good,
            own_key="AKIAOURS",
            console_key=KEY,
            sign_in=self._sign_in,
            docs=docs,
            status=lambda: {"backoff": []},
        )
        self.front.on_change = self._changed

    async def _sign_in(self, client_id: str) -> dict[str, Any] | None:
        self.signed_in.append(client_id)
        return TOKEN if self.is_set_up else None

    def _changed(self) -> None:
        self.changes += 1

    async def _services(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(scope)
        self.bodies.append((await receive()).get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "http", **headers: str
    ) -> tuple[int, bytes]:
        """The response's status and body; for a closed connection, its code."""
        named = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": kind,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        chunks = [body[:1], body[1:]]
        sent: list[AsgiMessage] = []

        async def receive() -> AsgiMessage:
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message: AsgiMessage) -> None:
            sent.append(message)

        asyncio.run(self.front(scope, receive, send))
        first = sent[0]
        return int(first["status"] if "status" in first else first["code"]), b"".join(
            each.get("body", b"") for each in sent
        )


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/v1", "/_aws/execute-api/0a1b2c3d/v1"),
        ("/v1/order", "/_aws/execute-api/0a1b2c3d/v1/order"),
        ("/v1/order/a%2Fb/status", "/_aws/execute-api/0a1b2c3d/v1/order/a%2Fb/status"),
        ("/_aws/execute-api/ffffffff/v1/order", "/_aws/execute-api/ffffffff/v1/order"),
    ],
)
def test_the_stable_path_leads_to_the_deployed_api(engine: FakeEngine, path: str, to: str) -> None:
    assert engine.ask("POST", path, authorization="Bearer token")[0] == 200
    assert (engine.reached[0]["path"], engine.reached[0]["raw_path"]) == (to, to.encode())


def test_the_stable_path_leads_to_the_deployed_websocket_api(engine: FakeEngine) -> None:
    engine.ask("GET", "/ws/v1", kind="websocket")
    assert engine.reached[0]["path"] == "/_aws/execute-api/4e5f6071/v1"


def test_without_a_stack_the_problem_has_the_deploy_command(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path, Deployed())
    status, body = engine.ask("POST", "/v1/order")
    assert (status, "make run" in json.loads(body)["detail"]) == (503, True)
    assert engine.ask("GET", "/ws/v1", kind="websocket")[0] == 1008
    assert engine.reached == []


def test_a_stopping_engine_accepts_only_calls_of_functions(engine: FakeEngine) -> None:
    engine.front.closed = True
    assert engine.ask("POST", "/v1/order")[0] == 503
    assert engine.ask("POST", "/", b"x=y", authorization=SIGNED)[0] == 200


def test_the_engines_key_becomes_the_administrators(engine: FakeEngine) -> None:
    assert engine.ask("POST", "/", b"Action=ListTopics", authorization=SIGNED)[0] == 200
    (scope,) = engine.reached
    assert dict(scope["headers"])[b"authorization"].startswith(b"AWS4-HMAC-SHA256 Credential=test/2026")
    assert engine.bodies == [b"Action=ListTopics"]


def test_a_function_keeps_its_own_credentials(engine: FakeEngine) -> None:
    of_function = SIGNED.replace("AKIAOURS", "ASIA1")
    engine.ask("POST", "/", authorization=of_function)
    assert dict(engine.reached[0]["headers"])[b"authorization"] == of_function.encode()


def test_an_invalid_signature_is_rejected(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path, good=False)
    assert engine.ask("POST", "/", b"x=y", authorization=SIGNED)[0] == 403
    assert engine.reached == []


@pytest.mark.parametrize("path", ["/bucket/key", "/_ministack/reset", "/restapis"])
def test_a_rejected_request_reaches_no_service(engine: FakeEngine, path: str) -> None:
    status, body = engine.ask("POST", path)
    assert status == 403
    assert json.loads(body)["message"]
    assert engine.reached == []
    assert engine.ask("GET", path, kind="websocket")[0] == 1008


def test_only_writing_requests_count_as_changes(engine: FakeEngine) -> None:
    engine.ask("GET", "/")
    engine.ask("GET", "/v1/order/1")
    engine.ask("POST", "/", authorization=SIGNED, x_amz_target="DynamoDB_20120810.Query")
    assert engine.changes == 0
    engine.ask("POST", "/v1/order")
    engine.ask("POST", "/", authorization=SIGNED, x_amz_target="DynamoDB_20120810.PutItem")
    engine.ask("POST", "/", authorization=SIGNED)
    assert engine.changes == 3


def test_the_front_page_has_links(engine: FakeEngine, tmp_path: Path) -> None:
    status, body = engine.ask("GET", "/")
    assert status == 200
    assert b'href="/_docs/"' in body
    assert b'href="/v1/console"' in body
    assert KEY.encode() not in body
    assert f"http://{HOST}/v1".encode() in body
    assert engine.ask("HEAD", "/") == (200, b"")


def test_the_documentation_is_served_from_its_folder(engine: FakeEngine, tmp_path: Path) -> None:
    status, body = engine.ask("GET", "/_docs/")
    assert status == 404
    assert b"make docs" in body
    (tmp_path / "index.html").write_text("<h1>Home</h1>")
    (tmp_path / "how-to").mkdir()
    (tmp_path / "how-to/deploy.html").write_text("<h1>Deploy</h1>")
    assert engine.ask("GET", "/_docs") == (302, b"")  # its links are relative
    assert engine.ask("GET", "/_docs/") == (200, b"<h1>Home</h1>")
    assert engine.ask("GET", "/_docs/how-to/deploy.html") == (200, b"<h1>Deploy</h1>")
    assert engine.ask("GET", "/_docs/how-to")[0] == 404
    assert engine.ask("GET", "/_docs/gone.html")[0] == 404


def test_the_documentation_knows_the_stack_that_it_is_served_with(engine: FakeEngine) -> None:
    status, body = engine.ask("GET", "/_docs/stack.json")
    assert status == 200
    assert json.loads(body) == {"api": "/v1", "session": "/_console/session"}
    assert KEY.encode() not in body


@pytest.mark.parametrize(
    "name", ["../secret", "how-to/../../secret", "/secret", "//etc/passwd", "a\0b", "link"]
)
def test_nothing_beside_the_documentation_is_served(tmp_path: Path, name: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    engine = FakeEngine(docs)
    (docs / "index.html").write_text("<h1>Home</h1>")
    (tmp_path / "secret").write_text("secret")
    (docs / "link").symlink_to(tmp_path / "secret")
    status, body = engine.ask("GET", f"/_docs/{name}")
    assert status == 404
    assert b"secret" not in body


def test_the_engines_status_is_for_tools(engine: FakeEngine) -> None:
    assert engine.ask("GET", "/_ministack/status")[0] == 403
    assert engine.ask("GET", "/_ministack/status", x_engine_secret="secret") == (200, b'{"backoff": []}')


# ---------------------------------------------------------------- the console's session
def session(engine: FakeEngine, body: object, **headers: str) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = engine.ask("POST", "/_console/session", raw, **CONSOLE | headers)
    return status, json.loads(answer)


def test_the_console_exchanges_its_key_for_a_token(engine: FakeEngine) -> None:
    assert session(engine, {"key": KEY}) == (200, TOKEN)
    assert engine.signed_in == ["client-1"]
    assert engine.changes == 1


@pytest.mark.parametrize(
    "body",
    [
        *(
            {"key": ""},
            {"key": KEY[:-1]},
            {"key": KEY + "0"},
            {"key": KEY.upper()},
            {"key": None},
            {"key": [KEY]},
        ),
        *(
            {},
            [],
            KEY,
            None,
            {"key": "schlüssel"},
            b"",
            b"{",
            b"\xff",
            b'{"key":"\\ud800"}',
            {"key": "secret"},
        ),
        {"key": KEY, "padding": "x" * 1024},
    ],
)
def test_a_wrong_key_is_refused_and_not_repeated(engine: FakeEngine, body: object) -> None:
    status, problem = session(engine, body)
    assert (status, problem["status"], problem["title"]) == (403, 403, "Forbidden")
    assert engine.signed_in == []
    assert KEY[:-1] not in json.dumps(problem)


def test_whoever_may_not_ask_is_refused_with_a_problem(engine: FakeEngine) -> None:
    for headers, expected in (
        ({"origin": "http://attacker.example"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"host": "attacker.example"}, 421),
    ):
        status, problem = session(engine, {"key": KEY}, **headers)
        assert (status, problem["status"]) == (expected, expected)
    assert engine.signed_in == []


def test_without_a_console_there_is_no_session_yet(engine: FakeEngine, tmp_path: Path) -> None:
    for deployed in (Deployed(), Deployed("0a1b2c3d", "4e5f6071", "v1", "*")):
        status, problem = session(FakeEngine(tmp_path, deployed), {"key": KEY})
        assert (status, "make run" in problem["detail"]) == (503, True)
    engine.is_set_up = False
    assert session(engine, {"key": KEY})[0] == 503
    engine.front.closed = True
    assert session(engine, {"key": KEY})[0] == 503
    # and without the key the reason is not given
    assert session(engine, {"key": "wrong"})[0] == 403


def test_the_key_and_the_password_are_the_engines_own() -> None:
    made = [make(secret) for make in (console_key, operator_password) for secret in ("secret", "another")]
    assert len({*made, "secret", "another"}) == 6
    assert all(len(each) >= 64 for each in made)


@pytest.mark.parametrize("location", ["http://127.0.0.1:4566/v1/console?code=code-1", ""])
def test_the_operator_signs_in_as_a_browser_does(location: str) -> None:
    forms: list[tuple[str, dict[str, list[str]]]] = []

    async def pool(scope: Scope, receive: Receive, send: Send) -> None:
        forms.append((scope["path"], parse_qs((await receive())["body"].decode())))
        is_login = scope["path"] == "/login"
        headers = [(b"Location", location.encode())] if is_login else []
        await send({"type": "http.response.start", "status": 302 if is_login else 200, "headers": headers})
        await send(
            {"type": "http.response.body", "body": json.dumps({**TOKEN, "refresh_token": "r"}).encode()}
        )

    answer = asyncio.run(sign_in(pool, "client-1", 4566, "secret"))

    login = forms[0][1]
    assert (login["username"], login["password"]) == ([OPERATOR], [operator_password("secret")])
    assert login["code_challenge_method"] == ["S256"]
    if not location:  # the user is not there yet
        assert (answer, len(forms)) == (None, 1)
        return
    assert answer == TOKEN, "nothing that is good for longer leaves the engine"
    assert forms[1][1]["code"] == ["code-1"]
    assert forms[1][1]["redirect_uri"] == login["redirect_uri"] == ["http://127.0.0.1:4566/v1/console"]
