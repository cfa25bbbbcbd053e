"""One idempotency rule for every operation that changes something.

The same key with the same request has one effect and the first response, even if the resource has changed;
with another request it is refused; and it belongs to its caller and its operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import yaml

from order_capture.adapters.serializers import decimal_json
from order_capture.domain.webhooks import CALLBACKS
from tests.support.factories import SERVICE_CLAIMS
from tests.support.pipeline import Answer
from tests.support.receiver import FakeReceiver
from tests.support.shop import Shop, order_of
from tests.support.template import ROOT, load_template, of_type

CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "swagger.yaml").read_text("utf-8"))
KEYED = sorted(
    (method.upper(), path)
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
    if {"$ref": "#/components/parameters/IdempotencyKey"} in operation.get("parameters", [])
)
OTHER_SERVICE = SERVICE_CLAIMS | {"sub": "service-2", "client_id": "service-2"}
TABLES = list(of_type(load_template(), "AWS::DynamoDB::Table"))


@dataclass(frozen=True)
class Request:
    """A request without its key."""

    path: str
    body: Mapping[str, Any] | None = None


class World:
    """A shop whose customers have a receiver, and their clients' requests."""

    def __init__(self, shop: Shop, receiver: FakeReceiver) -> None:
        self.shop, self.receiver = shop, receiver
        for name in ("webhook_api", "webhook_sender"):
            shop.pipeline.configure(name, LOOPBACK_WEBHOOKS="true")

    def send(
        self, method: str, request: Request, key: str | None, claims: Mapping[str, str] = SERVICE_CLAIMS
    ) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.shop.pipeline.ask(method, request.path, request.body, headers, claims)

    def rest(self) -> World:
        self.shop.pipeline.run()
        return self

    def everything(self) -> dict[str, list[str]]:
        """All stored items, except the hint that some customer may have webhooks (decision 0122)."""
        pipeline = self.shop.pipeline
        return {
            table: sorted(
                decimal_json.canonical(item) for item in pipeline.items(table) if "slots" not in item
            )
            for table in TABLES
        }

    # What there is to send

    def new_order(self) -> Request:
        order_id = self.shop.order(order_of("alice", 1, pen=1))
        return Request(f"/order/{order_id}/cancel")

    def new_account(self) -> str:
        name = f"customer-{len(self.everything()['AccountTable'])}"
        self.done("POST", Request("/account", {"customerId": name, "balance": 5}))
        return name

    def new_product(self) -> str:
        name = f"product-{len(self.everything()['StockTable'])}"
        self.done("POST", Request("/stock", {"productId": name, "balance": 5}))
        return name

    def webhook(self, customer: str = "alice") -> Request:
        return Request("/webhooks", {"customerId": customer, "url": self.receiver.url})

    def new_webhook(self) -> str:
        return str(self.done("POST", self.webhook()).body["webhookId"])

    def new_callbacks(self, customer: str) -> str:
        callbacks = f"{customer}.{CALLBACKS}"
        self.done("POST", Request(f"/webhooks/{callbacks}/rotate-secret"))
        return callbacks

    def new_delivery(self) -> Request:
        webhook = self.new_webhook()
        self.shop.order(order_of("alice", 1, pen=1))
        self.rest()
        path = f"/webhooks/{webhook}/deliveries"
        (newest, *_) = self.shop.pipeline.ask("GET", path).body["deliveries"]
        return Request(f"{path}/{newest['deliveryId']}/replay")

    def done(self, method: str, request: Request) -> Answer:
        answer = self.send(method, request, None)
        assert answer.status < 300, answer.body
        return answer

    # What happens to it since

    def removed(self, path: str) -> Answer:
        return self.done("DELETE", Request(path))

    def changed_and_removed(self, path: str, body: Mapping[str, Any]) -> None:
        self.done("POST", Request(path.rpartition("/")[0], body))
        self.removed(path)


@dataclass(frozen=True)
class Case:
    """A valid request of an operation, a different one, a refused one, and what happens after the first."""

    request: Callable[[World], Request]
    other: Callable[[World, Request], Request]
    refused: Request
    since: Callable[[World, Request, Answer], object]


NOWHERE = "alice." + "f" * 32
CASES = {
    ("POST", "/order"): Case(
        lambda world: Request("/order", order_of("alice", 10, pen=1)),
        lambda world, _: Request("/order", order_of("alice", 11, pen=1)),
        Request("/order", {}),
        lambda world, _, answer: world.done("POST", Request(f"/order/{answer.body['orderId']}/cancel")),
    ),
    ("POST", "/orders"): Case(
        lambda world: Request("/orders", {"orders": [order_of("alice", 10, pen=1), {"customerId": "bob"}]}),
        lambda world, _: Request("/orders", {"orders": [order_of("alice", 10, pen=1), order_of("bob", 1)]}),
        Request("/orders", {"orders": []}),
        lambda world, _, answer: world.rest(),  # it ships
    ),
    ("POST", "/order/{orderId}/cancel"): Case(
        lambda world: world.new_order(),
        lambda world, _: world.new_order(),
        Request("/order/none/cancel"),
        lambda world, _, answer: world.rest(),  # the checks' answers come late, and are kept
    ),
    ("POST", "/account"): Case(
        lambda world: Request("/account", {"customerId": world.new_account(), "adjust": 2}),
        lambda world, request: Request("/account", {**(request.body or {}), "adjust": 3}),
        Request("/account", {"customerId": "bob", "adjust": -1000}),
        lambda world, request, _: world.changed_and_removed(
            f"/account/{(request.body or {})['customerId']}", {**(request.body or {}), "adjust": 1}
        ),
    ),
    ("DELETE", "/account/{customerId}"): Case(
        lambda world: Request(f"/account/{world.new_account()}"),
        lambda world, _: Request(f"/account/{world.new_account()}"),
        Request("/account/nobody"),
        lambda world, request, _: world.done(
            "POST", Request("/account", {"customerId": request.path.rpartition("/")[2], "balance": 7})
        ),
    ),
    ("POST", "/stock"): Case(
        lambda world: Request("/stock", {"productId": world.new_product(), "adjust": 2, "price": 3.5}),
        lambda world, request: Request("/stock", {**(request.body or {}), "adjust": 3}),
        Request("/stock", {"productId": "pen", "adjust": -1000}),
        lambda world, request, _: world.changed_and_removed(
            f"/stock/{(request.body or {})['productId']}", {**(request.body or {}), "adjust": 1, "price": 4}
        ),
    ),
    ("DELETE", "/stock/{productId}"): Case(
        lambda world: Request(f"/stock/{world.new_product()}"),
        lambda world, _: Request(f"/stock/{world.new_product()}"),
        Request("/stock/nothing"),
        lambda world, request, _: world.done(
            "POST", Request("/stock", {"productId": request.path.rpartition("/")[2], "balance": 7})
        ),
    ),
    ("POST", "/webhooks"): Case(
        lambda world: world.webhook(),
        lambda world, _: world.webhook("bob"),
        Request("/webhooks", {"customerId": "alice"}),
        lambda world, _, answer: (
            world.done("POST", Request(f"/webhooks/{answer.body['webhookId']}/rotate-secret")),
            world.removed(f"/webhooks/{answer.body['webhookId']}"),
        ),
    ),
    ("DELETE", "/webhooks/{webhookId}"): Case(
        lambda world: Request(f"/webhooks/{world.new_callbacks('alice')}"),
        lambda world, _: Request(f"/webhooks/{world.new_callbacks('bob')}"),
        Request(f"/webhooks/{NOWHERE}"),
        lambda world, _, answer: world.new_callbacks("alice"),  # it has the same id
    ),
    ("POST", "/webhooks/{webhookId}/rotate-secret"): Case(
        lambda world: Request(f"/webhooks/{world.new_webhook()}/rotate-secret"),
        lambda world, _: Request(f"/webhooks/{world.new_webhook()}/rotate-secret"),
        Request(f"/webhooks/{NOWHERE}/rotate-secret"),
        lambda world, request, answer: (
            world.done("POST", request),
            world.removed(f"/webhooks/{answer.body['webhookId']}"),
        ),
    ),
    ("POST", "/webhooks/{webhookId}/deliveries/{deliveryId}/replay"): Case(
        lambda world: world.new_delivery(),
        lambda world, _: world.new_delivery(),
        Request(f"/webhooks/{NOWHERE}/deliveries/{'0' * 32}/replay"),
        lambda world, request, _: (world.rest(), world.done("POST", request), world.rest()),
    ),
}

each_operation = pytest.mark.parametrize("operation", CASES, ids=" ".join)


@pytest.fixture
def world(shop: Shop) -> Iterator[World]:
    with FakeReceiver() as receiver:
        yield World(shop, receiver)


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def without_mark(answer: Answer) -> tuple[int, Any, dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name != "Idempotency-Replayed"}
    return answer.status, answer.body, headers


def test_every_operation_with_a_key_is_covered() -> None:
    assert sorted(CASES) == KEYED


def test_every_changing_operation_takes_an_idempotency_key() -> None:
    assert {
        (method.upper(), path)
        for path, item in CONTRACT["paths"].items()
        for method in item
        if method in ("post", "put", "patch", "delete")
        and not path.startswith("/operations/")  # what operators do is the same when it is done twice
    } == set(KEYED)


@each_operation
def test_the_first_response_is_repeated_whatever_has_changed_since(
    world: World, operation: tuple[str, str]
) -> None:
    # given an answered request, whose resource has changed or is deleted since
    case, (method, _) = CASES[operation], operation
    request = case.request(world)
    first = world.send(method, request, "key-1")
    case.since(world, request, first)
    world.rest()
    before, deliveries = world.everything(), len(world.receiver.received)
    # when
    again = world.send(method, request, "key-1")
    world.rest()
    # then
    assert first.status < 300
    assert not is_replay(first)
    assert is_replay(again)
    assert without_mark(again) == without_mark(first)
    assert world.everything() == before
    assert len(world.receiver.received) == deliveries


@each_operation
def test_the_same_key_with_another_request_is_rejected_and_changes_nothing(
    world: World, operation: tuple[str, str]
) -> None:
    # given
    case, (method, _) = CASES[operation], operation
    request = case.request(world)
    other = case.other(world, request)
    assert world.send(method, request, "key-1").status < 300
    world.rest()
    before = world.everything()
    # when
    answer = world.send(method, other, "key-1")
    world.rest()
    # then
    assert (answer.status, answer.body["type"]) == (422, "urn:order-capture:problem:idempotency-key-reused")
    assert world.everything() == before


@each_operation
def test_somebody_elses_same_key_is_another_key(world: World, operation: tuple[str, str]) -> None:
    # given
    case, (method, _) = CASES[operation], operation
    request = case.request(world)
    other = case.other(world, request)
    assert world.send(method, request, "key-1").status < 300
    # when
    answer = world.send(method, other, "key-1", OTHER_SERVICE)
    # then
    assert answer.status < 300, answer.body
    assert not is_replay(answer)


def test_the_same_key_for_another_operation_is_another_key(world: World) -> None:
    for (method, _), case in CASES.items():
        answer = world.send(method, case.request(world), "key-1")
        assert answer.status < 300, answer.body
        assert not is_replay(answer)


@each_operation
def test_a_rejected_request_does_not_use_up_its_key(world: World, operation: tuple[str, str]) -> None:
    # given
    case, (method, _) = CASES[operation], operation
    assert 400 <= world.send(method, case.refused, "key-1").status < 500
    # when
    answer = world.send(method, case.request(world), "key-1")
    # then
    assert answer.status < 300, answer.body
    assert not is_replay(answer)


@each_operation
def test_a_request_whose_writes_all_failed_takes_effect_on_retry(
    world: World, operation: tuple[str, str]
) -> None:
    # given
    case, (method, _) = CASES[operation], operation
    request = case.request(world)
    before = world.everything()
    with (
        world.shop.pipeline.refusing("dynamodb.PutItem"),
        world.shop.pipeline.refusing("dynamodb.UpdateItem"),
        world.shop.pipeline.refusing("dynamodb.TransactWriteItems"),
        mock.patch("time.sleep"),
    ):
        failed = world.send(method, request, "key-1")
    assert failed.status == 503
    assert world.everything() == before
    # when
    first, again = (world.send(method, request, "key-1") for _ in range(2))
    # then
    assert first.status < 300, first.body
    assert not is_replay(first)
    assert without_mark(again) == without_mark(first)


@each_operation
def test_a_request_whose_answer_was_lost_has_one_effect_and_one_answer(
    world: World, operation: tuple[str, str]
) -> None:
    # given a write whose response is lost: botocore retries it
    case, (method, _) = CASES[operation], operation
    request = case.request(world)
    with (
        world.shop.pipeline.losing_an_answer("dynamodb.TransactWriteItems"),
        world.shop.pipeline.losing_an_answer("dynamodb.PutItem"),
    ):
        first = world.send(method, request, "key-1")
    # when
    again = world.send(method, request, "key-1")
    # then
    assert first.status < 300, first.body
    assert is_replay(again)
    assert without_mark(again) == without_mark(first)
