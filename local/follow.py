"""`make follow`: print the events of an order, or of a customer's orders, from the WebSocket API."""

import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from local.tokens import Tokens, describe
from order_capture.adapters.serializers import decimal_json
from order_capture_ops.cli import Parser, console, errors, identifier, run
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import find

_OPEN = {"PENDING", "CONFIRMED"}
_SCOPE = "orders/read"
_COLOURS = {"SHIPPED": "green", "REJECTED": "red", "EXPIRED": "red", "CANCELLED": "yellow"}
_ANSWER_SECONDS = 30.0
_PAUSE_SECONDS = 1.0  # before reconnecting


class Feed:
    """Prints the events of one order or customer, each once and in order."""

    def __init__(self, followed: Mapping[str, str]) -> None:
        self._followed = followed
        self._latest: dict[str, int] = {}
        self.is_over = False

    def take(self, message: Mapping[str, Any]) -> None:
        """Print the new events in a message of the WebSocket API.

        Raises:
            CommandError: the message is a problem.
        """
        if "problem" in message:
            problem = message["problem"]
            named = "; ".join(f"{each['field']} {each['message']}" for each in problem.get("errors", []))
            raise CommandError(f"{problem.get('title')}: {named or problem.get('detail')}")
        if "specversion" in message:
            # Events may be repeated or arrive out of order, which shows in their sequence.
            if int(message["sequence"]) > self._latest.get(message["subject"], 0):
                self._latest[message["subject"]] = int(message["sequence"])
                self._show(message["time"], message["type"], message["data"])
        elif order := message.get("order"):
            self._show(order.get("updateTime", ""), "now", order)

    def _show(self, when: str, what: str, order: Mapping[str, Any]) -> None:
        status = str(order["status"])
        console.print(
            Text.assemble((f"{_clock(when)} ", "dim"), f"{what} ", (status, _COLOURS.get(status, "bold")))
        )
        console.print(Text(f"    order {order['orderId']}", style="dim"))
        for check, decision in (order.get("checks") or {}).items():
            if decision and decision["outcome"] == "DECLINED":
                requested = f", asked {decision['asked']}" if decision.get("asked") is not None else ""
                had = f", available {decision['available']}" if decision.get("available") is not None else ""
                console.print(
                    f"    {check}: {decision['code']} {decision['id']}{requested}{had}", markup=False
                )
        self.is_over = "orderId" in self._followed and status not in _OPEN


def main(arguments: list[str] | None = None) -> int:
    """`make follow`."""
    parser = Parser(
        prog="make follow",
        description="Prints an order's events until it has ended, or a customer's until Ctrl-C.",
        example="make follow ORDER=<id>, or make follow CUSTOMER=alice",
    )
    parser.add_argument("--order", type=identifier, help="the id of an order")
    parser.add_argument("--customer", type=identifier, help="all orders of this customer")
    parser.add_argument("--stack", metavar="NAME", help="a stack on AWS (default: the local engine's)")
    options = parser.parse_args(arguments)
    if bool(options.order) == bool(options.customer):
        parser.error("either ORDER or CUSTOMER is needed, and not both")
    followed = {"orderId": options.order} if options.order else {"customerId": options.customer}
    return run(lambda: _follow(options.stack, followed))


def _follow(stack: str | None, followed: Mapping[str, str]) -> int:
    described = describe(find(stack))
    tokens, feed = Tokens(described), Feed(followed)
    listen(described["socketUrl"], lambda: tokens.of_service(_SCOPE), feed, followed)
    return 0


def listen(url: str, token: Callable[[], str], feed: Feed, followed: Mapping[str, str]) -> None:
    """Connect and subscribe, reconnecting whenever the connection ends, until the order has ended.

    API Gateway ends a connection after two hours, or after ten minutes without a message:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html

    Raises:
        CommandError: the connection or the subscription fails.
    """
    local = url.startswith("ws://127.0.0.1:")
    while not feed.is_over:
        try:
            # The user's proxy must not be used for the loopback interface.
            with connect(
                url,
                additional_headers={"Authorization": f"Bearer {token()}"},
                open_timeout=_ANSWER_SECONDS,
                proxy=None if local else True,
            ) as socket:
                socket.send(decimal_json.dumps({"action": "subscribe", **followed}))
                if "customerId" in followed:
                    errors.print(f"Following {followed['customerId']}'s orders until Ctrl-C")
                while not feed.is_over:
                    feed.take(decimal_json.loads(socket.recv()))
        except ConnectionClosed:
            errors.print("The connection was closed: reconnecting.")
            time.sleep(_PAUSE_SECONDS)
        except InvalidStatus as error:
            raise CommandError(f"The WebSocket API rejected the connection: {error}") from error
        except (OSError, WebSocketException) as error:
            raise CommandError(f"No WebSocket connection to {url}: {error}") from error


def _clock(time: str) -> str:
    try:
        return f"{datetime.fromisoformat(time).astimezone():%H:%M:%S.%f}"[:-3]
    except ValueError:
        return time


if __name__ == "__main__":
    sys.exit(main())
