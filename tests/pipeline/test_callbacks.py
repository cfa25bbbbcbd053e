"""An order's events are sent to its callback URL, in addition to its customer's webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from order_capture.adapters.serializers import decimal_json
from tests.support.factories import customer_claims
from tests.support.receiver import HANGS, FakeReceiver
from tests.support.shop import Shop, order_of

SHIPPED = ["order.placed", "order.confirmed", "order.shipped"]
ALICES = f"/webhooks/alice.{'0' * 32}"

# Of which the pattern takes none, and one that it takes at the local engine only.
BAD_ADDRESSES = [
    "http://shop.example.com/",
    "http://127.0.0.1:8080/",
    "https://127.0.0.1/",
    "https://[::ffff:169.254.169.254]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://localhost/",
    "https://alice:secret@shop.example.com/",
    "https://shop.example.com/#here",
    "https://shop.example.com/{id}",
    "https://shop.example.com/%zz",
    "",
    None,
    ["https://shop.example.com/"],
    "https://shop.example.com/" + "x" * 512,
]


@pytest.fixture
def calls(shop: Shop) -> Callbacks:
    return Callbacks(shop)


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as receiver:
        yield receiver


class Callbacks:
    """Orders with a callback URL."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.pipeline = shop, shop.pipeline
        for name in ("order_api", "webhook_api", "webhook_sender"):
            self.pipeline.configure(name, LOOPBACK_WEBHOOKS="true")
        self.pipeline.configure("webhook_sender", WEBHOOK_TIMEOUT_SECONDS="0.3")

    def order(self, receiver: FakeReceiver, customer: str = "alice", total: float = 10) -> str:
        return self.shop.order(body_of(receiver.url, customer, total))

    def secret(self, path: str = ALICES) -> str:
        answer = self.pipeline.ask("POST", f"{path}/rotate-secret")
        assert answer.status == 200, answer.body
        return str(answer.body["secret"])

    def log(self, path: str = ALICES) -> list[dict[str, Any]]:
        return list(self.pipeline.ask("GET", f"{path}/deliveries?limit=100").body["deliveries"])

    def replay(self, delivery: dict[str, Any], path: str = ALICES) -> int:
        return self.pipeline.ask("POST", f"{path}/deliveries/{delivery['deliveryId']}/replay").status

    def wait(self, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            self.pipeline.wait(seconds)
            self.pipeline.run()


def body_of(url: object, customer: str = "alice", total: float = 10) -> dict[str, Any]:
    return {**order_of(customer, total, pen=1), "callbackUrl": url}


def types_of(receiver: FakeReceiver) -> list[str]:
    return [decimal_json.loads(each.body)["type"] for each in receiver.received]


def test_an_orders_events_are_sent_to_its_callback_url_only(
    calls: Callbacks, receiver: FakeReceiver, shop: Shop
) -> None:
    secret = calls.secret()
    with FakeReceiver() as others:
        order_id = calls.order(receiver)
        calls.order(others)
        shop.order(order_of("alice", 10, pen=1))
        calls.pipeline.run()

        events = [each.verified(secret) for each in receiver.received]
        assert [event["type"] for event in events] == SHIPPED
        assert {event["subject"] for event in events} == {order_id}
        assert events[-1]["data"] == shop.view(order_id)
        assert len(others.received) == 3


def test_the_address_is_shown_with_the_order_and_with_each_delivery(
    calls: Callbacks, receiver: FakeReceiver, shop: Shop
) -> None:
    answer = shop.post(body_of(receiver.url))
    calls.pipeline.run()

    assert answer.body["callbackUrl"] == receiver.url
    assert shop.view(answer.body["orderId"])["callbackUrl"] == receiver.url
    assert {each["url"] for each in calls.log()} == {receiver.url}
    assert "callbackUrl" not in shop.view(shop.order(order_of("alice", 10, pen=1)))


def test_a_webhook_gets_events_of_orders_with_and_without_a_callback_url(
    calls: Callbacks, receiver: FakeReceiver, shop: Shop
) -> None:
    with FakeReceiver() as subscribed:
        body = {"customerId": "alice", "url": subscribed.url, "eventTypes": ["order.shipped"]}
        assert calls.pipeline.ask("POST", "/webhooks", body).status == 201
        calls.order(receiver)
        shop.order(order_of("alice", 10, pen=1))
        calls.pipeline.run()

        assert types_of(receiver) == SHIPPED
        assert types_of(subscribed) == ["order.shipped"] * 2


def test_each_order_of_a_batch_has_its_own(calls: Callbacks, receiver: FakeReceiver, shop: Shop) -> None:
    with FakeReceiver() as other:
        orders = [
            body_of(receiver.url, "alice"),
            body_of("http://10.0.0.1/"),
            body_of(other.url, "bob", 999),
        ]
        answer = shop.post({"orders": orders})
        calls.pipeline.run()

        problem = answer.body["orders"][1]["problem"]
        assert [each["field"] for each in problem["errors"]] == ["orders[1].callbackUrl"]
        assert types_of(receiver) == SHIPPED
        assert types_of(other) == ["order.placed", "order.rejected"]


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_an_invalid_url_is_rejected_at_once_and_nothing_is_written(shop: Shop, url: object) -> None:
    answer = shop.post(body_of(url))

    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, ["callbackUrl"])
    assert not {"dynamodb.PutItem", "sns.PublishBatch"} & {*shop.pipeline.calls[-1:]}
    strict = shop.post({"orders": [body_of(url), order_of("bob")], "errorPolicy": "REJECT_ALL"})
    assert (strict.status, [each["field"] for each in strict.body["errors"]]) == (
        400,
        ["orders[0].callbackUrl"],
    )


def test_a_callback_url_has_the_rules_and_errors_of_a_webhooks_url(shop: Shop) -> None:
    for url in BAD_ADDRESSES:
        webhook = shop.pipeline.ask("POST", "/webhooks", {"customerId": "alice", "url": url})
        order = shop.post(body_of(url))
        payloads = [
            [each["message"] for each in answer.body["errors"] if each["field"] in ("url", "callbackUrl")]
            for answer in (webhook, order)
        ]
        assert payloads[0] == payloads[1]
        assert payloads[0]


def test_a_callback_url_costs_no_extra_call_before_the_response(
    calls: Callbacks, receiver: FakeReceiver
) -> None:
    made = []
    for body in (order_of("alice", 10, pen=1), body_of(receiver.url)):
        before = len(calls.pipeline.calls)
        calls.shop.order(body)
        made.append(calls.pipeline.calls[before:])

    assert made[0] == made[1]
    assert len(made[1]) == 2


def test_the_address_is_part_of_what_a_key_stands_for(
    calls: Callbacks, receiver: FakeReceiver, shop: Shop
) -> None:
    first = shop.post(body_of(receiver.url), "key-1")
    again = shop.post(body_of(receiver.url), "key-1")
    calls.pipeline.run()
    later = shop.post(body_of(receiver.url), "key-1")
    other = shop.post(body_of(receiver.url + "x"), "key-1")
    without = shop.post(order_of("alice", 10, pen=1), "key-1")

    assert first.body == again.body == later.body
    assert (other.status, without.status) == (422, 422)
    assert types_of(receiver) == SHIPPED


def test_the_secret_may_be_fetched_after_the_first_order_and_failed_deliveries_are_retried(
    calls: Callbacks,
) -> None:
    with FakeReceiver(401, 204) as receiver:
        # GIVEN an order of a customer who has no secret yet
        calls.order(receiver)
        calls.pipeline.run()
        with pytest.raises(WebhookVerificationError):
            receiver.received[0].verified("whsec_" + "A" * 43 + "=")
        # WHEN they ask for one
        secret = calls.secret()
        calls.wait(60, times=7)
        # THEN all later deliveries verify with it, even the first event's
        assert sorted(types_of(receiver)[1:]) == sorted(SHIPPED)
        assert {each.verified(secret)["type"] for each in receiver.received[1:]} == {*SHIPPED}


def test_a_new_secret_signs_beside_the_old_one_for_a_day(calls: Callbacks, receiver: FakeReceiver) -> None:
    old, new = calls.secret(), calls.secret()
    calls.order(receiver)
    calls.pipeline.run()
    assert old != new
    assert receiver.received[0].verified(old) == receiver.received[0].verified(new)

    calls.pipeline.wait(24 * 3600)
    calls.order(receiver)
    calls.pipeline.run()
    assert receiver.received[-1].headers["webhook-signature"].count("v1,") == 1


def test_one_customers_callbacks_are_signed_with_their_secret_alone(
    calls: Callbacks, receiver: FakeReceiver
) -> None:
    calls.secret()
    bobs = calls.secret(ALICES.replace("alice", "bob"))
    calls.order(receiver)
    calls.pipeline.run()

    with pytest.raises(WebhookVerificationError):
        receiver.received[0].verified(bobs)


def test_410_ends_the_callbacks_of_that_order_only(calls: Callbacks, receiver: FakeReceiver) -> None:
    with FakeReceiver(410) as gone:
        calls.order(gone)
        order_id = calls.order(receiver)
        calls.pipeline.run()

        assert types_of(gone) == ["order.placed"]
        assert types_of(receiver) == SHIPPED
        assert calls.pipeline.ask("GET", ALICES).body["status"] == "ACTIVE"
        ended = [each for each in calls.log() if each["orderId"] != order_id]
        assert [(each["status"], each["attempts"][0]["result"]) for each in ended] == [
            ("FAILED", "the address is gone"),
            ("FAILED", "the address is gone"),
            ("FAILED", "answered 410"),
        ]
        # and nothing is sent there again, not even by a replay
        assert {calls.replay(each) for each in ended} == {409}
        # but another order may name the same address
        calls.order(gone)
        calls.pipeline.run()
        assert types_of(gone) == ["order.placed"] * 2


@pytest.mark.full
def test_a_failed_delivery_is_retried_then_dead_lettered_and_can_be_redriven(calls: Callbacks) -> None:
    with FakeReceiver(500) as receiver:
        calls.order(receiver, total=999)
        calls.pipeline.run()
        calls.wait(901, times=110)  # a message hops, fifteen minutes at a time

        assert {each["status"] for each in calls.log()} == {"FAILED"}
        dead = calls.pipeline.dead_letters("webhook_sender")
        assert len(dead) == 2

        receiver.answers, sent = [204], len(receiver.received)
        for message in dead * 2:
            calls.pipeline.put("webhook_sender", message)
        calls.wait(61, times=3)
        assert {each["status"] for each in calls.log()} == {"DELIVERED"}
        assert len(receiver.received) == sent + 2


def test_a_delivery_can_be_replayed(calls: Callbacks, receiver: FakeReceiver) -> None:
    secret = calls.secret()
    calls.order(receiver)
    calls.pipeline.run()
    assert calls.replay(calls.log()[0]) == 202
    calls.pipeline.run()

    assert types_of(receiver) == [*SHIPPED, SHIPPED[-1]]
    assert receiver.received[-1].headers["webhook-id"] == receiver.received[-2].headers["webhook-id"]
    assert receiver.received[-1].verified(secret) == receiver.received[-2].verified(secret)


def test_a_repeated_event_is_sent_once(calls: Callbacks, receiver: FakeReceiver) -> None:
    calls.order(receiver)
    calls.pipeline.run(times=2)
    calls.pipeline.redeliver_everything()
    calls.pipeline.run()

    assert types_of(receiver) == SHIPPED


def test_a_hanging_host_is_backed_off_and_delays_no_other_host_or_customer(
    calls: Callbacks, receiver: FakeReceiver
) -> None:
    with FakeReceiver(HANGS) as hanging, FakeReceiver() as bobs:
        for _ in range(3):
            calls.order(hanging)
        calls.order(receiver)
        calls.order(bobs, "bob")
        calls.pipeline.run()

        # of nine deliveries one was tried, since the host rests after that
        assert len(hanging.received) == 1
        assert types_of(receiver) == types_of(bobs) == SHIPPED
        # while it fails one is tried after each rest
        calls.wait(10)
        assert len(hanging.received) == 2
        # and when it has recovered it gets them all
        hanging.answers = [204]
        calls.wait(30, times=12)
        assert len({each.headers["webhook-id"] for each in hanging.received}) == 9
        assert {each["status"] for each in calls.log()} == {"DELIVERED"}


@pytest.mark.parametrize("nth", range(6))
def test_a_sender_whose_write_fails_at_any_point_loses_nothing(
    calls: Callbacks, shop: Shop, nth: int
) -> None:
    # GIVEN a host that fails, so that the next try claims it, and a sender whose write number n is refused
    with FakeReceiver(500, 204) as receiver:
        calls.order(receiver)
        calls.pipeline.run()
        made = iter(range(100))

        def refuse(**_: object) -> Any:
            if next(made) >= nth:
                raise ConnectionError("AWS is gone")

        calls.pipeline.wait(6)
        with calls.pipeline.hooked("before-call.dynamodb.UpdateItem", refuse):
            calls.pipeline.deliver("webhook_sender")
        # WHEN its claims have expired
        calls.wait(31, times=12)
        # THEN all has arrived, each under its own id
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 3
        assert {each["status"] for each in calls.log()} == {"DELIVERED"}


@pytest.mark.parametrize("fault", ["dynamodb.Query", "dynamodb.PutItem", "sqs.SendMessageBatch"])
def test_a_failed_dispatch_is_retried(calls: Callbacks, receiver: FakeReceiver, fault: str) -> None:
    secret = calls.secret()
    calls.order(receiver)
    calls.pipeline.publish_changes()
    with calls.pipeline.refusing(fault):
        calls.pipeline.deliver("webhook_dispatcher")
    calls.pipeline.run()

    assert [each.verified(secret)["type"] for each in receiver.received] == SHIPPED


def test_a_forbidden_address_is_never_connected_to(calls: Callbacks, receiver: FakeReceiver) -> None:
    calls.order(receiver)
    calls.pipeline.configure("webhook_sender", LOOPBACK_WEBHOOKS="")  # as it is on AWS
    calls.pipeline.run()

    assert receiver.received == []
    results = {tried["result"] for each in calls.log() for tried in each["attempts"]}
    assert results == {"the address is not a public one"}


def test_callbacks_are_one_webhook_beside_the_ten_that_a_customer_may_have(
    calls: Callbacks, receiver: FakeReceiver
) -> None:
    calls.secret()
    body = {"customerId": "alice", "url": receiver.url}
    statuses = [calls.pipeline.ask("POST", "/webhooks", body).status for _ in range(11)]
    listed = calls.pipeline.ask("GET", "/webhooks?customerId=alice").body["webhooks"]

    assert statuses == [201] * 10 + [409]
    assert [each["url"] for each in listed].count("") == 1
    assert calls.pipeline.ask("GET", ALICES).body in listed
    assert all("secret" not in each for each in listed)


def test_removed_callbacks_send_nothing_pending_and_restart_with_the_next_event(
    calls: Callbacks, receiver: FakeReceiver
) -> None:
    secret = calls.secret()
    calls.order(receiver)
    calls.pipeline.publish_changes()
    calls.pipeline.deliver("webhook_dispatcher")
    assert calls.pipeline.ask("DELETE", ALICES).status == 200
    calls.pipeline.run()
    assert types_of(receiver) == SHIPPED[1:]
    with pytest.raises(WebhookVerificationError):
        receiver.received[-1].verified(secret)


def test_a_customer_can_access_only_their_own_callbacks(calls: Callbacks, receiver: FakeReceiver) -> None:
    calls.order(receiver)
    calls.pipeline.run()
    (delivery, *_) = calls.log()
    for method, below in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/rotate-secret"),
        ("GET", "/deliveries"),
        ("POST", f"/deliveries/{delivery['deliveryId']}/replay"),
    ]:
        foreign = calls.pipeline.ask(method, ALICES + below, claims=customer_claims("bob"))
        assert foreign.status == 404
    # nor can they create one to learn its secret
    bobs = ALICES.replace("alice", "bob")
    for customer, status in [("carol", 404), ("bob", 200)]:
        made = calls.pipeline.ask("POST", f"{bobs}/rotate-secret", claims=customer_claims(customer))
        assert made.status == status
    own = calls.pipeline.ask("POST", ALICES + "/rotate-secret", claims=customer_claims("alice"))
    assert own.status == 200
    # and no customer gets the events of another's order
    foreign = calls.pipeline.ask("POST", "/order", body_of(receiver.url), claims=customer_claims("bob"))
    assert foreign.status == 403
