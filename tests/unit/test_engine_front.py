"""The front of the local engine: which requests reach the services, and with which identity."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from local.engine_front import AsgiMessage, Deployed, Front, Receive, Scope, Send
from local.engine_guard import Rules

HOST = "127.0.0.1:4566"
SIGNED = "AWS4-HMAC-SHA256 Credential=AKIAOURS/20261128/us-east-1/sns/aws4_request, Signature=0"
DEPLOYED = Deployed("0a1b2c3d", "4e5f6071", "v1", "*")


class FakeEngine:
    """A front, fake services behind it that record requests, and a client."""

    def __init__(self, docs: Path, deployed: Deployed = DEPLOYED, *, good: bool = True) -> None:
        self.reached: list[Scope] = []
        self.bodies: list[bytes] = []
        self.changes = 0
        self.front = Front(
            self._services,
            rules=lambda origin: Rules(4566, "secret", allowed_origin=origin),
            deployed=lambda: deployed,
            verify=lambda scope, body: good,
            own_key="AKIAOURS",
            docs=docs,
            status=lambda: {"backoff": []},
        )
        self.front.on_change = self._changed

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
    return FakeEngine(tmp_path / "index.html")


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
    assert b"/_docs" in body
    assert f"http://{HOST}/v1".encode() in body
    assert engine.ask("HEAD", "/") == (200, b"")
    assert engine.ask("GET", "/_docs")[0] == 404
    (tmp_path / "index.html").write_text("<h1>API</h1>")
    assert engine.ask("GET", "/_docs") == (200, b"<h1>API</h1>")


def test_the_engines_status_is_for_tools(engine: FakeEngine) -> None:
    assert engine.ask("GET", "/_ministack/status")[0] == 403
    assert engine.ask("GET", "/_ministack/status", x_engine_secret="secret") == (200, b'{"backoff": []}')
