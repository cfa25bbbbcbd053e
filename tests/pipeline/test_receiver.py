"""The sample receiver accepts only genuine messages, and processes each once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from local.receiver import Receiver
from order_capture.domain.signatures import secret_of, signature
from tests.support.factories import WEBHOOK_SECRET

BODY = '{"type": "order.shipped"}'


class Counting(Receiver):
    """Counts the events that it processes."""

    processed = 0

    def on_event(self, event: dict[str, Any]) -> None:
        assert event == {"type": "order.shipped"}
        self.processed += 1


@pytest.fixture
def receiver() -> Iterator[Counting]:
    with Counting(WEBHOOK_SECRET) as receiver:
        yield receiver


def sent(
    receiver: Receiver, secret: str = WEBHOOK_SECRET, age: int = 0, body: str = BODY, **changed: str
) -> int:
    timestamp = int(datetime.now(UTC).timestamp()) - age
    headers = {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature([secret], "msg-1", timestamp, BODY),
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    return httpx.post(receiver.url, content=body, headers=headers, trust_env=False).status_code


def test_a_genuine_message_is_processed(receiver: Counting) -> None:
    assert sent(receiver) == 204
    assert receiver.processed == 1


def test_a_repeated_message_is_acknowledged_and_processed_once(receiver: Counting) -> None:
    assert [sent(receiver) for _ in range(3)] == [204] * 3
    assert receiver.processed == 1


def test_a_forged_changed_or_old_message_is_rejected(receiver: Counting) -> None:
    assert sent(receiver, secret=secret_of(bytes(32))) == 400
    assert sent(receiver, body=BODY.replace("shipped", "expired")) == 400
    assert sent(receiver, webhook_id="msg-2") == 400
    assert sent(receiver, webhook_signature="v1,") == 400
    assert sent(receiver, age=301) == 400
    assert httpx.post(receiver.url, content=BODY, trust_env=False).status_code == 400
    assert (receiver.processed, receiver.rejected) == (0, 6)


@pytest.mark.parametrize("signature", ["v1", "v1,!!!", "v1,a,b", "v1,a", "v2,", ",", ""])
def test_a_malformed_signature_is_rejected(receiver: Counting, signature: str) -> None:
    assert sent(receiver, webhook_signature=signature) == 400
    assert receiver.processed == 0


@pytest.mark.parametrize("time", ["inf", "9" * 400, "-1", "now"])
def test_a_malformed_timestamp_is_rejected(receiver: Counting, time: str) -> None:
    assert sent(receiver, webhook_timestamp=time) == 400


def test_a_body_that_is_not_text_is_rejected(receiver: Counting) -> None:
    headers = {"webhook-id": "msg-1", "webhook-timestamp": "1", "webhook-signature": "v1,a"}
    answer = httpx.post(receiver.url, content=b"\xff\xfe", headers=headers, trust_env=False)
    assert answer.status_code == 400


@pytest.mark.parametrize("length", ["-1", "many", "1e3", str(2**21)])
def test_an_invalid_or_too_large_content_length_is_rejected_unread(receiver: Counting, length: str) -> None:
    host, port = httpx.URL(receiver.url).host, httpx.URL(receiver.url).port
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode())
        assert b" 400 " in connection.recv(1024)
