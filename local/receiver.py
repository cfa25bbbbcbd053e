"""A receiver of webhooks, as a customer would write one: `make receiver SECRET=whsec_… PORT=8000`.

It accepts only messages that were signed with its secret within the last five minutes, and processes each
message once: repeated and replayed ones are only acknowledged. Each event of an order has a `sequence`, which
shows when events arrive out of order.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn, Self

import httpx
from rich.text import Text
from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from local.tokens import Tokens, describe
from order_capture_ops.cli import Parser, console, identifier, port, run
from order_capture_ops.errors import CommandError, UsageError
from order_capture_ops.stack import find

DEFAULT_PORT = 8000

_MAX_BYTES = 1024 * 1024  # far more than an order can have


class Receiver:
    """An HTTP server on the loopback interface. `events` are the accepted ones, by `webhook-id`."""

    def __init__(self, secret: str = "", port: int = 0) -> None:  # nosec B107 # none yet
        self.secret = secret
        self.events: dict[str, dict[str, Any]] = {}
        self.rejected = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 15  # for slow senders

            def do_POST(self) -> None:
                length = self.headers.get("content-length", "")
                if length.isdecimal() and int(length) <= _MAX_BYTES:
                    taken = receiver.take(dict(self.headers), self.rfile.read(int(length)))
                else:
                    taken = receiver.reject(f"its content-length is {length[:20]!r}")
                self.send_response(204 if taken else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing: the hooks below report messages."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The address that it listens on."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def take(self, headers: dict[str, str], body: bytes) -> bool:
        """Process a message once; returns False if its signature is invalid."""
        try:
            event: dict[str, Any] = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as error:
            return self.reject(str(error))
        except ValueError:
            return self.reject("its signature or its body can't be read")
        message_id = next(value for name, value in headers.items() if name.lower() == "webhook-id")
        if self.events.setdefault(message_id, event) is event:
            self.on_event(event)
        else:
            self.on_duplicate(message_id, event)
        return True

    def reject(self, reason: str) -> bool:
        """Count a rejected message; returns False."""
        self.rejected += 1
        self.on_rejected(reason)
        return False

    def on_event(self, event: dict[str, Any]) -> None:
        """Handle an event. Must be quick, since the sender waits for the response."""

    def on_duplicate(self, message_id: str, event: dict[str, Any]) -> None:
        """Handle a repeated message."""

    def on_rejected(self, reason: str) -> None:
        """Handle a rejected message."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Printing(Receiver):
    def on_event(self, event: dict[str, Any]) -> None:
        order = event.get("data", {})
        console.print(
            Text.assemble(
                (f"{event.get('type', '?')} ", "green"),
                f"#{event.get('sequence', '?')} of order {order.get('orderId', '?')}",
            )
        )
        for line in order.get("logs", [])[-1:]:
            console.print(Text(f"    {line}", style="dim"))

    def on_duplicate(self, message_id: str, event: dict[str, Any]) -> None:
        console.print(
            Text.assemble(("duplicate ", "yellow"), f"{event.get('type', '?')}, seen before and ignored")
        )
        console.print(Text(f"    webhook-id {message_id}", style="dim"))

    def on_rejected(self, reason: str) -> None:
        console.print(Text.assemble(("rejected ", "red"), f"with 400: {reason}"))


def main(arguments: list[str] | None = None) -> int:
    """`make receiver`."""
    parser = Parser(
        prog="make receiver",
        description="Prints the webhooks that arrive, until Ctrl-C. With a customer instead of a secret it "
        "registers a webhook of theirs on the local stack, and deletes it at the end.",
        example="make receiver CUSTOMER=alice, or make receiver SECRET=whsec_… PORT=8000",
    )
    parser.add_argument("--secret", default="", help="the webhook's secret, whsec_…")
    parser.add_argument("--customer", type=identifier, help="register a webhook for this customer")
    parser.add_argument("--port", type=port, help=f"port to listen on (default: {DEFAULT_PORT})")
    options = parser.parse_args(arguments)
    if bool(options.secret) == bool(options.customer):
        parser.error("either SECRET or CUSTOMER is needed, and not both")
    return run(lambda: _receive(options.secret, options.customer or "", options.port))


def _receive(secret: str, customer: str, port: int | None) -> int:
    if secret:
        try:
            Webhook(secret)
        except (ValueError, EmptyWebhookSecretError) as error:
            raise UsageError("SECRET is not a webhook's secret: whsec_ and base64.") from error
    try:
        receiver = _Printing(secret, port or DEFAULT_PORT)
    except OSError as error:
        other = (port or DEFAULT_PORT) + 1
        raise CommandError(f"Port {other - 1} is taken. For example: PORT={other}") from error
    with receiver, _registered(customer, receiver) if customer else contextlib.nullcontext():
        # So that the webhook is also removed after `kill`.
        signal.signal(signal.SIGTERM, _terminate)
        console.print(f"Listening on {receiver.url} until Ctrl-C")
        threading.Event().wait()
    return 0


@contextlib.contextmanager
def _registered(customer: str, receiver: Receiver) -> Iterator[None]:
    """Register a webhook of this customer on the local stack, and remove it at the end."""
    described = describe(find(None))
    bearer = {"Authorization": f"Bearer {Tokens(described).of_service()}"}
    with httpx.Client(base_url=described["apiUrl"], headers=bearer, timeout=30, trust_env=False) as api:
        answer = api.post("/webhooks", json={"customerId": customer, "url": receiver.url})
        if answer.status_code != 201:
            raise CommandError(f"The webhook was not registered ({answer.status_code}): {_problem(answer)}")
        webhook = answer.json()
        receiver.secret = webhook["secret"]
        console.print(f"Registered the webhook {webhook['webhookId']}")
        try:
            yield
        finally:
            removed = api.delete(f"/webhooks/{webhook['webhookId']}")
            console.print(
                "Deleted the webhook."
                if removed.is_success
                else f"The webhook is still there ({removed.status_code}): {_problem(removed)}"
            )


def _problem(answer: httpx.Response) -> str:
    """The problem of a response, in one line."""
    try:
        problem = answer.json()
        errors = "; ".join(f"{each['field']} {each['message']}" for each in problem.get("errors", []))
        return errors or str(problem["detail"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return answer.text[:200]


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
