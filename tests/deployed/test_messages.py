"""Foreign messages, sent directly to each queue."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from tests.deployed.shop import QUEUES, TIMEOUT, StackClient, View, eventually

RECEIVES = 5

_ENVELOPE = {
    "specversion": "1.0",
    "id": "1",
    "source": "/somebody",
    "time": "2026-11-20T10:00:00.000Z",
    "subject": "order-1",
    "datacontenttype": "application/json",
    "correlationid": "stranger",
    "data": {"orderId": "order-1", "customerId": "alice", "totalAmount": 1, "items": []},
}


def _event(kind: str, version: str = "1") -> str:
    return json.dumps(_ENVELOPE | {"type": kind, "dataschema": f"urn:order-capture:{kind}:{version}"})


POISON = {
    "bad JSON": '{"specversion": "1.0", ',
    "JSON but no message": '["order.check"]',
    "an unknown type": _event("order.teleport"),
    "an unknown version": _event("order.check", version="2"),
    "an order without items": _event("order.check"),
    # An int of it would take all memory and a minute, of its whole batch.
    "a number without end": _event("order.check").replace('"items": []', '"items": [], "qty": 1e100000000'),
}


@dataclass(frozen=True)
class Aftermath:
    """The outcome: the valid order sent right after it, and the id of each message."""

    order: View
    dead: int  # how many dead letters there were when the order had ended
    sent: dict[str, dict[str, str]]  # queue -> message id -> body


@pytest.fixture(scope="module")
def aftermath(shop: StackClient) -> Iterator[Aftermath]:
    """A poison message for every queue, and a valid order right after it."""
    alice, pen = shop.new_customer(), shop.new_product()
    shop.ended(shop.place(alice, {pen: 1}, "1.00"))  # every function has started once: no cold start is timed
    shop.come_to_rest()
    with shop.few_receives(*QUEUES, receives=RECEIVES):
        sent: dict[str, dict[str, str]] = {queue: {} for queue in QUEUES}
        for queue in QUEUES:
            for body in POISON.values():
                answer = shop.sqs.send_message(QueueUrl=shop.outputs[f"{queue}QueueUrl"], MessageBody=body)
                sent[queue][answer["MessageId"]] = body
        order = shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        dead = sum(shop.waiting(shop.outputs[f"{queue}DlqUrl"]) for queue in QUEUES)
        yield Aftermath(order, dead, sent)


def test_a_valid_order_behind_them_is_not_delayed(aftermath: Aftermath) -> None:
    assert aftermath.order["status"] == "SHIPPED"
    assert aftermath.dead == 0, "it came behind the poison, and was through before any of that was given up"


@pytest.mark.parametrize("queue", QUEUES)
def test_they_are_dead_lettered_after_their_attempts(
    shop: StackClient, aftermath: Aftermath, queue: str
) -> None:
    # given
    sent = aftermath.sent[queue]
    url, dead_letters = shop.outputs[f"{queue}QueueUrl"], shop.outputs[f"{queue}DlqUrl"]
    # when
    eventually(lambda: shop.waiting(dead_letters), lambda count: count == len(sent))
    # then
    found = _receive_all(shop, dead_letters, len(sent))
    assert found == sent, "all of them, and nothing else"
    assert shop.waiting(url) == 0
    for message_id in sent:
        lines = eventually(
            partial(shop.log_lines, queue, message_id),
            lambda lines: sum("refused a message" in line for line in lines) == RECEIVES,
        )
        refusals = [line for line in lines if "refused a message" in line]
        assert len(refusals) == RECEIVES


def _receive_all(shop: StackClient, url: str, count: int) -> dict[str, str]:
    found: dict[str, str] = {}
    deadline = time.monotonic() + TIMEOUT
    while len(found) < count and time.monotonic() < deadline:
        for message in shop.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            found[message["MessageId"]] = message["Body"]
    return found
