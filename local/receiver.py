"""A receiver of webhooks, as a customer would write one: `python -m local.receiver whsec_… --port 8000`.

It believes nothing that is not signed with its secret within the last five minutes, and acts once on each
message: what comes twice, or is sent again by somebody who listened in, is only answered. Each event of an
order has its `sequence`, by which a receiver can tell what comes out of order.
"""

import argparse
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

_MAX_BYTES = 1024 * 1024  # far more than an order has: whoever sends more is not who we know


class Receiver:
    """Listens on loopback as long as it is in use. `events` are those it has taken in, by `webhook-id`."""

    def __init__(self, secret: str = "", port: int = 0) -> None:
        self.secret = secret
        self.events: dict[str, dict[str, Any]] = {}
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 15  # for what takes its time to arrive

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                taken = (
                    length.isdecimal()
                    and int(length) <= _MAX_BYTES
                    and receiver.take(dict(self.headers), self.rfile.read(int(length)))
                )
                self.send_response(204 if taken else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: what arrives is told by who uses this."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def take(self, headers: dict[str, str], body: bytes) -> bool:
        """Take a message in, once; False if it is not from whom it says."""
        try:
            event: dict[str, Any] = Webhook(self.secret).verify(body, headers)
        except (WebhookVerificationError, ValueError):  # or what is no signature at all, or no text
            self.refused += 1
            return False
        message_id = next(value for name, value in headers.items() if name.lower() == "webhook-id")
        if self.events.setdefault(message_id, event) is event:
            self.on_event(event)
        return True

    def on_event(self, event: dict[str, Any]) -> None:
        """What is done with an event; done quickly, since the sender waits for the answer."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Printing(Receiver):
    def on_event(self, event: dict[str, Any]) -> None:
        order = event["data"]
        print(event["type"], event["sequence"], json.dumps(order["logs"][-1:]), order["orderId"], flush=True)


def main() -> int:
    """Print what arrives until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local.receiver")
    parser.add_argument("secret", help="of the webhook, whsec_…")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    with _Printing(arguments.secret, arguments.port) as receiver:
        print("listening on", receiver.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
