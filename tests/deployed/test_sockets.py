"""Authorized clients follow orders over a WebSocket connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import simplejson
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.deployed.shop import TIMEOUT, StackClient, eventually
from tests.deployed.test_authorization import BAD_TOKENS
from tests.deployed.tokens import SCOPES, Forger
from tests.support.target import needs_own_engine
from tests.support.template import functions, load_template

SHIPPED = [("1", "order.placed"), ("2", "order.confirmed"), ("3", "order.shipped")]


class SocketClient:
    """A client with an open connection."""

    def __init__(self, shop: StackClient, headers: Mapping[str, str], *protocols: str) -> None:
        # No proxy: one for the world outside is not for the loopback interface.
        self.connection: ClientConnection = connect(
            shop.outputs["socketUrl"],
            additional_headers=headers,
            subprotocols=protocols or None,  # type: ignore[arg-type]
            open_timeout=TIMEOUT,
            proxy=None,
        )
        self._events: list[dict[str, Any]] = []

    def say(self, message: object) -> dict[str, Any]:
        """Send a message (a text unchanged) and wait for its reply; events that come before it are kept."""
        self.connection.send(message if isinstance(message, str | bytes) else simplejson.dumps(message))
        while "specversion" in (message := self._next()):
            self._events.append(message)
        return message

    def follow(self, **what: str | bool) -> dict[str, Any]:
        """Subscribe to an orderId or a customerId."""
        return self.say({"action": "subscribe", **what})

    def story(self, order_id: str, until: str) -> list[tuple[str, str]]:
        """The events of an order as they come, up to one of this type, each once."""
        received: dict[str, tuple[str, str]] = {}
        while True:
            event = self.event()
            if event["subject"] == order_id:
                received.setdefault(event["id"], (event["sequence"], event["type"]))
                if event["type"] == until:
                    return list(received.values())

    def event(self) -> dict[str, Any]:
        """The next event."""
        return self._events.pop(0) if self._events else self._next()

    def heard_nothing(self) -> bool:
        """Whether only replies were received."""
        with contextlib.suppress(TimeoutError):
            self._events.append(simplejson.loads(self.connection.recv(timeout=0.5)))
        return not self._events

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = simplejson.loads(self.connection.recv(timeout=TIMEOUT), use_decimal=True)
        return message


@contextlib.contextmanager
def following(shop: StackClient, customer: str = "") -> Iterator[SocketClient]:
    """A customer who has connected, or a service."""
    follower = SocketClient(shop, {"Authorization": shop.bearer(customer)})
    with follower.connection:
        yield follower


def followed(shop: StackClient, key: str) -> list[str]:
    """The connections that follow something, as the table has it."""
    table = shop.aws.client("dynamodb", endpoint_url=shop.endpoint)
    item = table.get_item(
        TableName=shop.outputs["ConnectionTableId"],
        Key={"followed": {"S": key}, "connectionId": {"S": "*"}},
        ConsistentRead=True,
    ).get("Item", {})
    return sorted(item.get("connections", {"SS": []})["SS"])


@pytest.fixture(scope="module")
def forger(shop: StackClient) -> Forger:
    return Forger(shop)


def refused(shop: StackClient, headers: Mapping[str, str], *protocols: str) -> int:
    """The status with which a connection is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        SocketClient(shop, headers, *protocols)
    return refusal.value.response.status_code


@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_a_bad_token_opens_no_connection(shop: StackClient, forger: Forger, bad: str) -> None:
    token = forger.header(bad)

    assert refused(shop, {"Authorization": token} if token else {}) == 403


@pytest.mark.parametrize("bad", [bad for bad in BAD_TOKENS if bad not in ("no token", "another scheme")])
def test_an_invalid_token_in_a_subprotocol_opens_no_connection(
    shop: StackClient, forger: Forger, bad: str
) -> None:
    token = forger.header(bad).removeprefix("Bearer").strip()

    assert refused(shop, {}, "order-capture", *([token] if token else [])) == 403


def test_a_token_in_the_address_opens_no_connection(shop: StackClient) -> None:
    token = shop.tokens.of_service()
    with pytest.raises(InvalidStatus):
        connect(f"{shop.outputs['socketUrl']}?Authorization={token}", proxy=None)


def test_without_the_scope_no_connection_is_opened(shop: StackClient) -> None:
    others = " ".join(scope for scope in SCOPES if scope != "orders/read")

    assert refused(shop, {"Authorization": f"Bearer {shop.tokens.of_service(others)}"}) == 403


def test_the_scope_opens_a_connection(shop: StackClient) -> None:
    token = shop.tokens.of_service("orders/read")

    with SocketClient(shop, {"Authorization": f"Bearer {token}"}).connection as connection:
        assert connection.subprotocol is None


def test_a_browser_sends_its_token_as_a_subprotocol_and_gets_ours_back(shop: StackClient) -> None:
    alice = shop.new_customer()
    follower = SocketClient(shop, {}, "order-capture", shop.tokens.of_customer(alice))

    with follower.connection as connection:
        assert connection.subprotocol == "order-capture"
        assert follower.follow(customerId=alice) == {"subscribed": {"customerId": alice}}


@needs_own_engine("it stops shipping for everybody")
def test_a_subscriber_gets_the_orders_state_and_its_further_events(shop: StackClient) -> None:
    # given a shop in which nothing ships
    alice, pen = shop.new_customer("100.00"), shop.new_product(5)
    with following(shop, alice) as follower:
        with held_up(shop, "ShipOrder"):
            order_id = shop.place(alice, {pen: 1}, "10.00")
            confirmed = eventually(lambda: shop.order(order_id), lambda order: order["status"] == "CONFIRMED")
            # when she follows it
            answer = follower.follow(orderId=order_id)
            # then
            assert answer == {"subscribed": {"orderId": order_id}, "order": confirmed}
        assert follower.story(order_id, "order.shipped")[-1] == ("3", "order.shipped")


def test_a_service_follows_all_orders_and_a_customer_does_not(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product(5)
    with following(shop) as service, following(shop, alice) as hers:
        # when
        assert service.follow(all=True) == {"subscribed": {"all": True}}
        refused = hers.follow(all=True)["problem"]
        assert (refused["status"], refused["detail"]) == (403, "Only services and operators may do this.")
        order_id = shop.place(alice, {pen: 1}, "1.00")
        # then
        assert service.story(order_id, "order.shipped") == SHIPPED
        assert hers.heard_nothing()


def test_an_order_is_followed_until_it_ships(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(5)
    with following(shop, alice) as hers, following(shop) as service:
        hers.follow(customerId=alice)
        service.follow(customerId=alice)
        # when
        order_id = shop.place(alice, {pen: 1}, "10.00")
        # then
        assert hers.story(order_id, "order.shipped") == SHIPPED
        assert service.story(order_id, "order.shipped") == SHIPPED


def test_a_double_subscription_gets_each_event_once(shop: StackClient) -> None:
    alice, pen = shop.new_customer("100.00"), shop.new_product(5)
    with following(shop, alice) as follower:
        follower.follow(customerId=alice)
        assert follower.follow(customerId=alice) == {"subscribed": {"customerId": alice}}
        order_id = shop.place(alice, {pen: 1}, "10.00")
        follower.follow(orderId=order_id)
        received = [follower.event() for _ in range(3)]

        assert [(event["sequence"], event["type"]) for event in received] == SHIPPED
        assert follower.heard_nothing()


def test_an_event_equals_the_topics_and_has_the_whole_order(shop: StackClient) -> None:
    alice = shop.new_customer("10.00")
    with following(shop, alice) as follower:
        follower.follow(customerId=alice)
        order_id = shop.place(alice, {shop.new_product(1): 1}, "10.00")
        # by their ids: any of them may come twice
        events: dict[str, dict[str, Any]] = {}
        while len(events) < 3:
            events.setdefault((event := follower.event())["id"], event)
        placed, _, shipped = events.values()

    assert (placed["specversion"], placed["type"], placed["subject"]) == ("1.0", "order.placed", order_id)
    assert (shipped["type"], shipped["sequence"]) == ("order.shipped", "3")
    assert shipped["data"] == shop.order(order_id)


def test_events_of_another_customer_are_not_delivered(shop: StackClient) -> None:
    # given
    alice, bob, pen = shop.new_customer("100.00"), shop.new_customer(), shop.new_product(5)
    with following(shop, bob) as follower:
        order_id = shop.place(alice, {pen: 1}, "10.00")
        # when
        foreign, unknown = follower.follow(orderId=order_id), follower.follow(orderId="no-such-order")
        customer, nobody = follower.follow(customerId=alice), follower.follow(customerId="nobody")
        # then
        assert same(foreign) == same(unknown)
        assert same(customer) == same(nobody)
        assert foreign["problem"]["detail"] == "There is no such order."
        assert customer["problem"]["type"] == "urn:order-capture:problem:not-found"
        shop.ended(order_id)
        assert follower.heard_nothing()
    assert followed(shop, f"order#{order_id}") == followed(shop, f"customer#{alice}") == []


def same(answer: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in two responses that must be indistinguishable."""
    return {name: value for name, value in answer["problem"].items() if name != "requestId"}


@pytest.mark.parametrize(
    ("garbage", "field"),
    [
        ("", "body"),
        ("garbage", "body"),
        ("[" * 1000, "body"),
        (" " * 1025, "body"),
        ("null", "body"),
        ("[]", "body"),
        ("{}", "action"),
        ('{"action":"$connect","orderId":"1"}', "action"),
        ('{"action":"$disconnect"}', "action"),
        ('{"action":{"subscribe":1}}', "action"),
        ('{"action":"subscribe"}', "orderId"),
        ('{"action":"subscribe","orderId":"1","customerId":"2"}', "orderId"),
        ('{"action":"subscribe","orderId":"#"}', "orderId"),
        ('{"action":"subscribe","orderId":17}', "orderId"),
        ('{"action":"subscribe","orderId":"1","more":1}', "more"),
    ],
)
def test_an_invalid_message_gets_a_problem_and_keeps_the_connection(
    shop: StackClient, garbage: str, field: str
) -> None:
    with following(shop) as follower:
        answer = follower.say(garbage)

        assert answer["problem"]["type"] == "urn:order-capture:problem:invalid-request"
        assert field in [error["field"] for error in answer["problem"]["errors"]]
        assert answer["asked"] == garbage[:200]
        assert "subscribed" in follower.follow(customerId="alice")


def test_a_closed_connection_is_removed(shop: StackClient) -> None:
    alice = shop.new_customer()
    with following(shop, alice) as follower:
        follower.follow(customerId=alice)
        assert len(followed(shop, f"customer#{alice}")) == 1

    assert eventually(lambda: followed(shop, f"customer#{alice}"), lambda left: not left) == []


def test_a_dead_connection_is_removed_and_delays_no_other(shop: StackClient) -> None:
    # given a connection that was closed without notice
    alice, pen = shop.new_customer("100.00"), shop.new_product(5)
    shop.aws.client("dynamodb", endpoint_url=shop.endpoint).put_item(
        TableName=shop.outputs["ConnectionTableId"],
        Item={
            "followed": {"S": f"customer#{alice}"},
            "connectionId": {"S": "*"},
            "connections": {"SS": ["0000000000000000"]},
        },
    )
    with following(shop, alice) as follower:
        follower.follow(customerId=alice)
        assert len(followed(shop, f"customer#{alice}")) == 2
        # when
        order_id = shop.place(alice, {pen: 1}, "10.00")
        # then
        assert follower.story(order_id, "order.shipped") == SHIPPED
        (left,) = eventually(lambda: followed(shop, f"customer#{alice}"), lambda left: len(left) == 1)
        assert left != "0000000000000000"


def test_nothing_of_it_is_left_undone(shop: StackClient) -> None:
    """No event is waiting for a retry or dead-lettered."""
    shop.come_to_rest()
    assert eventually(lambda: shop.waiting(shop.outputs["SocketPusherQueueUrl"]), lambda left: left == 0) == 0
    assert shop.waiting(shop.outputs["SocketPusherDlqUrl"]) == 0
    assert shop.waiting(shop.outputs["OrderEventTopicDlqUrl"]) == 0


@contextlib.contextmanager
def held_up(shop: StackClient, function: str) -> Iterator[None]:
    """While this lasts, a function receives nothing from its queue."""
    client = shop.aws.client("lambda", endpoint_url=shop.endpoint)
    assert functions(load_template())[f"{function}Function"]
    mappings = client.list_event_source_mappings(FunctionName=shop.outputs[f"{function}FunctionName"])
    uuid = mappings["EventSourceMappings"][0]["UUID"]
    client.update_event_source_mapping(UUID=uuid, Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=uuid, Enabled=True)
