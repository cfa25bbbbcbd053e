"""An independent receiver of webhooks, which knows only HTTP and Standard Webhooks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from order_capture.adapters.serializers import decimal_json

HANGS = 0
"""Instead of a status: never respond."""


@dataclass(frozen=True)
class Received:
    """A received request."""

    path: str
    headers: Mapping[str, str]
    body: str

    def verified(self, secret: str) -> dict[str, Any]:
        """The event in it, after the standard's own library has verified it.

        Raises:
            standardwebhooks.WebhookVerificationError: the signature is invalid.
        """
        Webhook(secret).verify(self.body, dict(self.headers))
        event: dict[str, Any] = decimal_json.loads(self.body)
        return event


class FakeReceiver:
    """A server on loopback. It responds with the statuses of `answers` in turn, then always with the last."""

    def __init__(self, *answers: int, headers: Mapping[str, str] | None = None) -> None:
        self.answers = list(answers or [204])
        self.received: list[Received] = []
        self._over = threading.Event()
        receiver, more = self, headers or {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if answer == HANGS:
                    receiver._over.wait()
                    return
                self.send_response(answer)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - for a client that follows a redirect

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/orders?of=alice"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> FakeReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0))).decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, body))
