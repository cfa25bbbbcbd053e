"""An item written by hand or by a newer release affects only its own record."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from order_capture.adapters import aws_clients
from order_capture.adapters.dynamodb.history_repository import DynamoHistoryRepository
from order_capture.adapters.dynamodb.ledger_repository import BALANCE_ENTRY, DynamoLedgerRepository
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository, to_order_item
from order_capture.adapters.dynamodb.types import to_item
from order_capture.adapters.messaging.publishers import EnvelopeFactory, QueuePublisher, TopicPublisher
from order_capture.application.ledger.publish_balance_states import PublishBalanceStates
from order_capture.application.orders.publish_order_events import PublishOrderEvents
from order_capture.application.retry import Retry
from order_capture.domain.order import CheckType
from order_capture.domain.order_log import log_lines
from order_capture.entrypoints.dynamodb_streams import StreamHandler, ledger_stream_handler, stream_handler
from order_capture.entrypoints.history_streams import history_stream_handler
from tests.support.factories import NOW, declined, details_of, held, placed
from tests.support.fakes import RecordedBackoff

Item = dict[str, Any]

OTHERS: dict[str, Any] = {
    "text": {"S": "x"},
    "no text": {"S": ""},
    "a number": {"N": "1"},
    "a fraction": {"N": "0.5"},
    "a negative number": {"N": "-1"},
    "a number of many digits": {"N": "9" * 38},
    "a number without end": {"N": "1E+125"},
    "a map": {"M": {"x": {"S": "y"}}},
    "an empty map": {"M": {}},
    "a list": {"L": [{"N": "1"}]},
    "a list of maps": {"L": [{"M": {}}]},
    "an empty list": {"L": []},
    "true": {"BOOL": True},
    "null": {"NULL": True},
    "bytes": {"B": "eA=="},
    "a set": {"SS": ["x"]},
    "a huge text": {"S": "x" * 300_000},
    "a huge list": {"L": [{"S": "x" * 1000}] * 300},
}
MISSING: Any = object()


class Aws:
    """The parts of SNS, SQS and DynamoDB that the stream functions use; calls are recorded by subject."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.dead_letters: list[dict[str, Any]] = []

    def publish_batch(self, *, PublishBatchRequestEntries: list[Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        assert sum(len(entry["Message"].encode()) for entry in PublishBatchRequestEntries) <= 256 * 1024
        self.kept |= {json.loads(entry["Message"])["subject"] for entry in PublishBatchRequestEntries}
        return {}

    def send_message_batch(self, **_: Any) -> dict[str, Any]:
        return {}

    def batch_write_item(self, *, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803
        for requests in RequestItems.values():
            for request in requests:
                self.kept.add(request["PutRequest"]["Item"]["entity"]["S"].partition("#")[2])
        return {}

    def send_message(self, *, MessageBody: str, **_: Any) -> None:  # noqa: N803
        self.dead_letters.append(json.loads(MessageBody))

    def of_orders(self) -> StreamHandler:
        sender = self._sender()
        watches, events = QueuePublisher(self, "queue", sender), TopicPublisher(self, "topic", sender)
        publish = PublishOrderEvents(watches, events, lambda _: (), lambda: False, 60).publish
        return stream_handler(publish)

    def of_states(self) -> StreamHandler:
        topic = TopicPublisher(self, "topic", self._sender())
        ledger = DynamoLedgerRepository(self, "StockTable", "productId", Retry(RecordedBackoff()))
        return ledger_stream_handler(PublishBalanceStates(ledger, topic).publish)

    def of_histories(self) -> StreamHandler:
        return history_stream_handler(
            lambda key, lines: DynamoHistoryRepository(self, "H", key, Retry(RecordedBackoff())).put(lines)
        )

    def _sender(self) -> EnvelopeFactory:
        return EnvelopeFactory("/order-capture/test", lambda: "m-1", lambda: NOW, RecordedBackoff())


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    aws = Aws()
    monkeypatch.setattr(aws_clients, "client", lambda _service: aws)
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", "the-dead-letters")
    return aws


def order_item(order_id: str) -> Item:
    order = placed(details_of(order_id, items=(("pen", 1), ("ink", 2))))
    order = order.record_check(CheckType.BALANCE, held(), now=NOW).record_check(
        CheckType.STOCK, declined(), now=NOW
    )
    return to_order_item(order)


def head_item(product: str) -> Item:
    figures = {"balance": Decimal(5), "held": Decimal(1), "settled": Decimal(2)}
    entries = {"lastEntries": {"HOLD#order-1": Decimal(1)}}
    values = {
        "productId": product,
        "entry": BALANCE_ENTRY,
        "version": 7,
        "updateTime": NOW,
        "price": Decimal("1.50"),
    }
    return to_item(values | figures | entries)


def decline_item(product: str) -> Item:
    values = {
        "entity": product,
        "amounts": {},
        "time": NOW,
        "outcome": "DECLINED",
        "code": "INSUFFICIENT_STOCK",
    }
    key = {"productId": f"ORDER#order-{product}", "entry": f"HOLD#order-{product}"}
    return to_item(key | values | {"id": product, "asked": Decimal(9), "available": Decimal(3)})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where an attribute is in an item, at any depth."""
    for name, attribute in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        ((kind, inner),) = attribute.items()
        if kind in ("M", "L"):
            yield from places(inner, (*path, name, kind))


def changed(item: Item, place: tuple[Any, ...], other: Any) -> Item:
    item = copy.deepcopy(item)
    *way, last = place
    at: Any = item
    for step in way:
        at = at[step]
    if other is MISSING:
        del at[last]
    else:
        at[last] = other
    return item


def in_stream(key_names: Sequence[str], new: Item, keys: Item, old: Item | None = None) -> dict[str, Any]:
    images = {"Keys": {name: keys[name] for name in key_names}, "SequenceNumber": "42", "NewImage": new}
    return {
        "eventID": "event-1",
        "eventSourceARN": "the-stream",
        "dynamodb": images | ({"OldImage": old} if old else {}),
    }


CASES: list[tuple[str, Callable[[Aws], StreamHandler], Callable[[str], Item], Sequence[str]]] = [
    ("orders", Aws.of_orders, order_item, ["orderId"]),
    ("states", Aws.of_states, head_item, ["productId", "entry"]),
    ("histories of heads", Aws.of_histories, head_item, ["productId", "entry"]),
    ("histories of declines", Aws.of_histories, decline_item, ["productId", "entry"]),
]
PLACES = [
    pytest.param(handler, golden, keys, place, id=f"{name}: {'.'.join(map(str, place))}")
    for name, handler, golden, keys in CASES
    for place in places(golden("bad"))
    if place[0] not in keys  # keys have the type that the table gives them
]


@pytest.mark.parametrize(("handler", "golden", "keys", "place"), PLACES)
def test_each_record_is_handled_or_dead_lettered_and_its_neighbours_are_handled(
    aws: Aws,
    handler: Callable[[Aws], StreamHandler],
    golden: Callable[[str], Item],
    keys: Sequence[str],
    place: tuple[Any, ...],
) -> None:
    for name, other in [*OTHERS.items(), ("nothing", MISSING)]:
        for as_old_image in (False, True):
            aws.kept.clear()
            aws.dead_letters.clear()
            poison, before = changed(golden("bad"), place, other), golden("bad")
            new, old = (before, poison) if as_old_image else (poison, None)
            records = [
                in_stream(keys, golden("one"), golden("one")),
                in_stream(keys, new, golden("bad"), old),
                in_stream(keys, golden("two"), golden("two")),
            ]

            assert handler(aws)({"Records": records}, None) == {}

            assert {"one", "two"} <= aws.kept, name
            assert len(aws.dead_letters) <= 1, name
            if aws.dead_letters:
                assert aws.dead_letters[0]["keys"] == {key: golden("bad")[key]["S"] for key in keys}, name
                assert "bad" not in aws.kept, name


def test_the_golden_records_are_handled(aws: Aws) -> None:
    for _, handler, golden, keys in CASES:
        aws.kept.clear()

        handler(aws)({"Records": [in_stream(keys, golden("bad"), golden("bad"))]}, None)

        assert aws.kept == {"bad"}
    assert aws.dead_letters == []


def test_an_order_that_can_not_be_read_is_found_by_none_and_hides_no_other() -> None:
    poison = [
        changed(order_item(f"bad-{number}"), place, other)
        for number, place in enumerate(places(order_item("bad")))
        for other in [*OTHERS.values(), MISSING]
        if place[0] not in ("orderId", "status")
    ]

    class Table:
        def batch_get_item(self, **_: Any) -> dict[str, Any]:
            return {"Responses": {"T": [order_item("one"), *poison, order_item("two")]}}

    found = DynamoOrderRepository(Table(), "T", Retry(RecordedBackoff())).get_many(["one", "two"])

    assert {"one", "two"} <= found.keys()
    assert all(isinstance(line, str) for order in found.values() for line in log_lines(order))
