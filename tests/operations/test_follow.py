"""`make follow` against a WebSocket API that repeats events and closes connections, as AWS's may."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from local import follow
from local.engine import free_port
from local.follow import Feed, listen
from order_capture_ops.errors import CommandError

ORDER = {"orderId": "order-1"}
Answer = Callable[[ServerConnection, int], None]


def order_in(status: str, **checks: Any) -> dict[str, Any]:
    return {
        "orderId": "order-1",
        "status": status,
        "checks": checks,
        "updateTime": "2026-11-20T10:00:00.000Z",
    }


def event(sequence: int, kind: str, status: str, **checks: Any) -> str:
    body = {"specversion": "1.0", "type": kind, "sequence": str(sequence), "subject": "order-1"}
    return json.dumps({**body, "time": "2026-11-20T10:00:00.000Z", "data": order_in(status, **checks)})


@contextmanager
def api(answer: Answer) -> Iterator[tuple[str, list[Any]]]:
    """Serve a WebSocket API that answers each connection, by number; yields the URL and what it received."""
    received: list[Any] = []

    def handle(connection: ServerConnection) -> None:
        received.append((connection.request.headers["Authorization"], json.loads(connection.recv())))  # type: ignore[union-attr]
        answer(connection, len(received))

    with serve(handle, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", received
        server.shutdown()


def follow_all(url: str) -> Feed:
    feed, numbers = Feed(ORDER), iter(range(1, 10))
    listen(url, lambda: f"token-{next(numbers)}", feed, ORDER)
    return feed


def test_each_event_is_printed_once_and_in_order_until_the_order_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    monkeypatch.setattr(follow, "_PAUSE_SECONDS", 0.0)
    declined = {"outcome": "DECLINED", "code": "INSUFFICIENT_STOCK", "id": "pen", "asked": 2, "available": 1}

    def answer(connection: ServerConnection, number: int) -> None:
        if number == 1:
            connection.send(json.dumps({"subscribed": ORDER, "order": order_in("PENDING")}))
            connection.send(event(1, "order.placed", "PENDING"))
            connection.send(event(1, "order.placed", "PENDING"))
            return  # the connection ends, as after two hours
        connection.send(json.dumps({"subscribed": ORDER, "order": order_in("PENDING")}))
        connection.send(event(2, "order.rejected", "REJECTED", stock=declined))

    # when
    with api(answer) as (url, received):
        feed = follow_all(url)
    # then
    assert feed.is_over
    assert received == [
        (f"Bearer token-{number}", {"action": "subscribe", "orderId": "order-1"}) for number in (1, 2)
    ], "a new connection has a new token"
    shown = capsys.readouterr()
    assert shown.out.count("order.placed") == 1
    assert "stock: INSUFFICIENT_STOCK pen, asked 2, available 1" in shown.out
    assert "reconnecting" in shown.err


def test_an_ended_order_is_printed_and_the_command_ends(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(connection: ServerConnection, _: int) -> None:
        connection.send(json.dumps({"subscribed": ORDER, "order": order_in("SHIPPED")}))

    with api(answer) as (url, _):
        follow_all(url)

    assert "SHIPPED" in capsys.readouterr().out


def test_a_rejected_subscription_raises_the_problem() -> None:
    problem = {"type": "t", "title": "Not found", "detail": "There is no such order."}

    def answer(connection: ServerConnection, _: int) -> None:
        connection.send(json.dumps({"problem": problem, "asked": "{}"}))

    with (
        api(answer) as (url, _),
        pytest.raises(CommandError, match=r"^Not found: There is no such order\.$"),
    ):
        follow_all(url)


def test_a_refused_connection_is_one_line() -> None:
    with pytest.raises(CommandError, match=r"^No WebSocket connection to ws://127\.0\.0\.1"):
        follow_all(f"ws://127.0.0.1:{free_port()}")
