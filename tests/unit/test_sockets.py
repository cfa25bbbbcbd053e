"""Every message over a WebSocket connection gets a reply."""

from __future__ import annotations

import json
from typing import Any

import botocore.exceptions
import pytest

from order_capture.adapters.websocket_client import ApiGatewayConnections
from order_capture.application.ports import SubscriptionTarget
from order_capture.domain.errors import NotFoundError
from order_capture.entrypoints.http.problems import RequestInvalidError
from order_capture.entrypoints.websocket import messages
from order_capture.entrypoints.websocket.api import Frame, socket_handler
from tests.support.factories import customer_claims, placed, socket_event


class Received:
    """A WebSocket function, and the messages that it received."""

    def __init__(self, answer: Exception | None = None) -> None:
        self.frames: list[Frame] = []
        self.forgotten: list[str] = []
        self._answer = answer
        self.handler = socket_handler(self._listen, self.forgotten.append, prepare=list)

    def _listen(self, frame: Frame) -> dict[str, Any]:
        self.frames.append(frame)
        if self._answer:
            raise self._answer
        return {"received": frame.text}


def test_a_message_is_answered_and_says_who_sent_it() -> None:
    received = Received()

    answer = received.handler(socket_event("hello", claims=customer_claims("alice")), None)

    assert answer == {"statusCode": 200, "body": '{"received":"hello"}'}
    assert [(frame.connection_id, frame.caller.customer_id) for frame in received.frames] == [
        ("connection-1", "alice")
    ]


@pytest.mark.parametrize("claims", [None, customer_claims("alice") | {"username": ""}])
def test_a_message_of_nobody_is_not_listened_to(claims: dict[str, str] | None) -> None:
    received = Received()

    answer = received.handler(socket_event("hello", claims=claims), None)

    assert json.loads(answer["body"])["problem"]["status"] == 401
    assert not received.frames


@pytest.mark.parametrize(
    ("error", "status"), [(NotFoundError("There is no such order."), 404), (KeyError("inside"), 500)]
)
def test_a_refusal_repeats_the_request(error: Exception, status: int) -> None:
    answer = Received(error).handler(socket_event("x" * 300), None)

    body = json.loads(answer["body"])
    assert answer["statusCode"] == 200
    assert body["problem"]["status"] == status
    assert body["problem"]["requestId"] == "request-1"
    assert body["asked"] == "x" * 200
    assert "inside" not in answer["body"]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, {}),
        ("a-token", {}),
        ("order-capture, a-token", {"Sec-WebSocket-Protocol": "order-capture"}),
        ("a-token,order-capture", {"Sec-WebSocket-Protocol": "order-capture"}),
    ],
)
def test_the_protocol_that_is_chosen_is_never_the_token(offered: str | None, chosen: dict[str, str]) -> None:
    headers = {"sec-webSocket-protocol": offered} if offered else None

    answer = Received().handler(socket_event(kind="CONNECT", headers=headers), None)

    assert answer == {"statusCode": 200, "headers": chosen}


def test_a_connection_that_has_ended_is_forgotten() -> None:
    received = Received()

    assert received.handler(socket_event(kind="DISCONNECT"), None) == {"statusCode": 200}
    assert received.forgotten == ["connection-1"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"action":"subscribe","orderId":"1"}', SubscriptionTarget.order("1")),
        (
            '{"action":"subscribe","customerId":"alice@example.com"}',
            SubscriptionTarget.customer("alice@example.com"),
        ),
        ('{"action":"subscribe","all":true}', SubscriptionTarget.all_orders()),
    ],
)
def test_one_may_subscribe_to_an_order_a_customer_or_all_orders(text: str, what: SubscriptionTarget) -> None:
    assert messages.wanted(text) == what


ONE_OF_THREE = "orderId exactly one of orderId, customerId and all is required"


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", "body must be JSON, and is not at line 1, column 1"),
        ("\ud800", "body must be JSON in UTF-8"),
        ("[" * 1025, "body must be at most 1024 bytes"),
        ("[]", "body must be an object"),
        ('{"orderId":"1"}', "action is required"),
        ('{"action":"unsubscribe","orderId":"1"}', "action must be 'subscribe'"),
        ('{"action":"subscribe"}', ONE_OF_THREE),
        ('{"action":"subscribe","orderId":"1","customerId":"2"}', ONE_OF_THREE),
        ('{"action":"subscribe","orderId":"1","all":true}', ONE_OF_THREE),
        ('{"action":"subscribe","customerId":"1","all":true}', ONE_OF_THREE),
        ('{"action":"subscribe","all":false}', "all must be true"),
        ('{"action":"subscribe","all":1}', "all must be true"),
        ('{"action":"subscribe","all":"true"}', "all must be true"),
        ('{"action":"subscribe","customerId":"1","all":false}', "all must be true"),
        ('{"action":"subscribe","orderId":1}', "orderId must be text"),
        ('{"action":"subscribe","orderId":"1","x":1}', "x is not a field of this request"),
        (
            '{"action":"subscribe","orderId":"order#1"}',
            "orderId must be 1 to 64 of the characters A-Z a-z 0-9 . _ : @ + ~ -, not only dots",
        ),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, errors: str) -> None:
    with pytest.raises(RequestInvalidError) as refusal:
        messages.wanted(text)

    assert str(refusal.value) == errors


def test_the_answer_says_what_is_followed_and_how_an_order_stands() -> None:
    answer = messages.subscribed(SubscriptionTarget.order("order-1"), placed())

    assert answer["subscribed"] == {"orderId": "order-1"}
    assert (answer["order"]["orderId"], answer["order"]["status"]) == ("order-1", "PENDING")
    assert messages.subscribed(SubscriptionTarget.customer("alice"), None) == {
        "subscribed": {"customerId": "alice"}
    }
    assert messages.subscribed(SubscriptionTarget.all_orders(), None) == {"subscribed": {"all": True}}


class Gateway:
    """API Gateway's client, whose posts fail with this error."""

    def __init__(self, code: str = "") -> None:
        self._code = code
        self.posted: list[dict[str, Any]] = []

    def post_to_connection(self, **post: Any) -> None:
        if self._code:
            raise botocore.exceptions.ClientError({"Error": {"Code": self._code}}, "PostToConnection")
        self.posted.append(post)


def test_a_text_is_sent_as_it_is() -> None:
    gateway = Gateway()

    assert ApiGatewayConnections(gateway).send("c-1", "Grüße")
    assert gateway.posted == [{"ConnectionId": "c-1", "Data": "Grüße".encode()}]


def test_only_a_connection_that_is_gone_is_gone() -> None:
    assert not ApiGatewayConnections(Gateway("GoneException")).send("c-1", "text")
    with pytest.raises(botocore.exceptions.ClientError):
        ApiGatewayConnections(Gateway("LimitExceededException")).send("c-1", "text")
