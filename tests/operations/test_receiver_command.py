"""`make receiver`: what it prints about deliveries, and that its webhook is removed afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from local import receiver
from local.engine import free_port
from local.receiver import Receiver
from order_capture.domain.signatures import signature
from order_capture_ops.errors import CommandError
from tests.support.factories import WEBHOOK_SECRET
from tests.support.template import ROOT

BODY = json.dumps(
    {"type": "order.shipped", "sequence": "3", "data": {"orderId": "order-1", "logs": ["a", "10:00 shipped"]}}
)


def send(url: str, age: int = 0, body: str = BODY) -> int:
    timestamp = int(datetime.now(UTC).timestamp()) - age
    signed = signature([WEBHOOK_SECRET], "msg-1", timestamp, BODY)
    headers = {"webhook-id": "msg-1", "webhook-timestamp": str(timestamp), "webhook-signature": signed}
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def test_it_prints_new_duplicate_and_rejected_deliveries() -> None:
    port = free_port()
    command = [sys.executable, "-u", "-m", "local.receiver", f"--secret={WEBHOOK_SECRET}", f"--port={port}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == f"Listening on http://127.0.0.1:{port}/ until Ctrl-C\n"
        url = f"http://127.0.0.1:{port}/"
        assert [send(url), send(url), send(url, age=1000), send(url, body="{}")] == [204, 204, 400, 400]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert out.splitlines() == [
        "order.shipped #3 of order order-1",
        "    10:00 shipped",
        "duplicate order.shipped, seen before and ignored",
        "    webhook-id msg-1",
        "rejected with 400: Message timestamp too old",
        "rejected with 400: No matching signature found",
    ]
    assert (process.returncode, err) == (130, "Interrupted.\n")


def test_a_taken_port_is_reported_with_a_free_one(capsys: pytest.CaptureFixture[str]) -> None:
    with Receiver() as taken:
        port = httpx.URL(taken.url).port

        assert receiver.main(["--secret", WEBHOOK_SECRET, "--port", str(port)]) == 1

    assert f"Port {port} is taken. For example: PORT=" in capsys.readouterr().err


@pytest.mark.parametrize("secret", ["whsec_", "whsec_ä", "a"])
def test_an_invalid_secret_is_rejected(secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert receiver.main(["--secret", secret]) == 2
    assert "whsec_ and base64" in capsys.readouterr().err


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, Any]]]:
    """An API that registers webhooks of alice and rejects others; yields the requests it received."""
    requested: list[tuple[str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            requested.append(("POST", self.path, body))
            if body["customerId"] == "alice":
                self.reply(201, {"webhookId": "alice.1", "secret": WEBHOOK_SECRET})
            else:
                self.reply(409, {"title": "Conflict", "detail": "This customer has 10 webhooks."})

        def do_DELETE(self) -> None:
            requested.append(("DELETE", self.path, None))
            self.reply(200, {})

        def reply(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Tokens:
        def __init__(self, _: object) -> None:
            pass

        def of_service(self) -> str:
            return "token"

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        described = {"apiUrl": f"http://127.0.0.1:{server.server_address[1]}/v1"}
        monkeypatch.setattr(receiver, "find", lambda _: None)
        monkeypatch.setattr(receiver, "describe", lambda _: described)
        monkeypatch.setattr(receiver, "Tokens", Tokens)
        yield requested
        server.shutdown()


def test_its_webhook_is_removed_however_it_ends(api: list[tuple[str, str, Any]]) -> None:
    with Receiver() as listening:
        url = listening.url

        def interrupted() -> None:
            with receiver._registered("alice", listening):
                assert listening.secret == WEBHOOK_SECRET
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()

    assert api == [
        ("POST", "/v1/webhooks", {"customerId": "alice", "url": url}),
        ("DELETE", "/v1/webhooks/alice.1", None),
    ]


def test_a_failed_registration_has_its_reason(api: list[tuple[str, str, Any]]) -> None:
    with (
        Receiver() as listening,
        pytest.raises(CommandError, match=r"\(409\): This customer has 10 webhooks\."),
        receiver._registered("bob", listening),
    ):
        pass
    assert [each[0] for each in api] == ["POST"]
