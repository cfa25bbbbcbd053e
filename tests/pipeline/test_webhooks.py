"""A customer's webhooks get the events of their orders: signed, at least once, for up to a day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from order_capture.adapters.serializers import decimal_json
from tests.support.factories import customer_claims
from tests.support.node import answer_of
from tests.support.pipeline import Pipeline
from tests.support.receiver import HANGS, FakeReceiver, Received
from tests.support.shop import Shop, order_of

SHIPPED = ["order.placed", "order.confirmed", "order.shipped"]


class Hooks:
    """Webhooks through the API."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        for name in ("webhook_api", "webhook_sender"):
            pipeline.configure(name, LOOPBACK_WEBHOOKS="true")
        pipeline.configure("webhook_sender", WEBHOOK_TIMEOUT_SECONDS="0.3")

    def register(self, url: str, customer: str = "alice", **more: Any) -> dict[str, Any]:
        answer = self.pipeline.ask("POST", "/webhooks", {"customerId": customer, "url": url, **more})
        assert answer.status == 201, answer.body
        return dict(answer.body)

    def view(self, webhook: dict[str, Any]) -> dict[str, Any]:
        return dict(self.pipeline.ask("GET", f"/webhooks/{webhook['webhookId']}").body)

    def log(self, webhook: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
        answer = self.pipeline.ask("GET", f"/webhooks/{webhook['webhookId']}/deliveries{query}")
        return list(answer.body["deliveries"])

    def replay(self, webhook: dict[str, Any], delivery: dict[str, Any]) -> int:
        path = f"/webhooks/{webhook['webhookId']}/deliveries/{delivery['deliveryId']}/replay"
        return self.pipeline.ask("POST", path).status


@pytest.fixture
def hooks(shop: Shop) -> Hooks:
    return Hooks(shop.pipeline)


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as receiver:
        yield receiver


# Like a receiver's own code: it passes the HTTP request to the SDK.
_TO_EVENT = """
import { HTTP } from "cloudevents";
import { readFileSync } from "node:fs";
const event = HTTP.toEvent(JSON.parse(readFileSync(0, "utf8")));
console.log(JSON.stringify({ valid: event.validate(), event }));
"""


def by_the_sdk(received: Received) -> dict[str, Any]:
    """The event that the CloudEvents SDK for JavaScript parses from a request."""
    request = json.dumps({"headers": received.headers, "body": received.body})
    found = answer_of(_TO_EVENT, "cloudevents", text=request)
    assert found["valid"] is True
    return dict(found["event"])


def types_of(receiver: FakeReceiver) -> list[str]:
    return [decimal_json.loads(each.body)["type"] for each in receiver.received]


def test_a_webhook_that_is_registered_before_an_event_is_published_gets_it_and_others_events_reach_no_queue(
    shop: Shop, hooks: Hooks, receiver: FakeReceiver
) -> None:
    # given events that are not published yet
    shop.order(order_of("alice", 10, pen=1))
    shop.order(order_of("bob", 1, pen=1))
    # when
    hooks.register(receiver.url)
    shop.pipeline.publish_changes()
    # then
    assert shop.pipeline.deliver("webhook_dispatcher") == 1
    shop.pipeline.run()
    assert types_of(receiver) == SHIPPED


def test_every_event_of_an_order_is_sent_signed(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    webhook = hooks.register(receiver.url)
    order_id = shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    events = [each.verified(webhook["secret"]) for each in receiver.received]
    assert [event["type"] for event in events] == SHIPPED
    assert [event["sequence"] for event in events] == ["1", "2", "3"]
    assert events[-1]["data"] == shop.view(order_id)
    assert [(each["status"], each["eventType"]) for each in hooks.log(webhook)] == [
        ("DELIVERED", kind) for kind in reversed(SHIPPED)
    ]


def test_the_sdk_of_cloudevents_recognises_each_event(
    shop: Shop, hooks: Hooks, receiver: FakeReceiver
) -> None:
    hooks.register(receiver.url)
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert [each.headers["content-type"] for each in receiver.received] == [
        "application/cloudevents+json; charset=utf-8"
    ] * 3
    for received in receiver.received:
        assert by_the_sdk(received) == json.loads(received.body)


def test_each_webhook_gets_its_customers_events_of_its_types(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver() as everything, FakeReceiver() as refusals, FakeReceiver() as bobs:
        hooks.register(everything.url)
        hooks.register(refusals.url, eventTypes=["order.rejected"])
        hooks.register(bobs.url, "bob")
        shop.order(order_of("alice", 10, pen=1))
        shop.order(order_of("alice", 999, pen=1))
        shop.pipeline.run()

        assert sorted(types_of(everything)) == sorted([*SHIPPED, "order.placed", "order.rejected"])
        assert types_of(refusals) == ["order.rejected"]
        assert types_of(bobs) == []


def test_a_delivery_costs_four_writes(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    hooks.register(receiver.url, eventTypes=["order.placed"])
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    shop.pipeline.calls.clear()
    shop.pipeline.deliver("webhook_dispatcher")
    assert shop.pipeline.calls == [
        "dynamodb.GetItem",  # whether the customer may have any
        "dynamodb.Query",
        "dynamodb.PutItem",
        "dynamodb.GetItem",
        "sqs.SendMessageBatch",
    ]
    shop.pipeline.calls.clear()
    shop.pipeline.deliver("webhook_sender")
    assert shop.pipeline.calls == ["dynamodb.GetItem"] * 3 + ["dynamodb.UpdateItem"] * 4


def test_a_slow_receiver_is_served_in_the_slow_lane(shop: Shop, hooks: Hooks) -> None:
    # GIVEN a receiver that needs more time than the quick lane allows
    shop.pipeline.configure("webhook_sender", WEBHOOK_TIMEOUT_SECONDS="5")
    with FakeReceiver(HANGS, 204) as receiver:
        webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        first, second = receiver.received
        assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
        (delivery,) = hooks.log(webhook)
        assert [each["result"] for each in delivery["attempts"]] == ["no response within 2 s", "answered 204"]


def test_a_repeated_event_is_sent_once(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    hooks.register(receiver.url)
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run(times=2)
    shop.pipeline.redeliver_everything()
    shop.pipeline.run()

    assert types_of(receiver) == SHIPPED


def test_forged_and_replayed_webhooks_fail_verification(
    shop: Shop, hooks: Hooks, receiver: FakeReceiver
) -> None:
    webhook = hooks.register(receiver.url)
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    genuine = receiver.received[0]

    with pytest.raises(WebhookVerificationError):
        type(genuine)(genuine.path, genuine.headers, genuine.body.replace("alice", "mallo")).verified(
            webhook["secret"]
        )
    with pytest.raises(WebhookVerificationError):
        genuine.verified(hooks.register(receiver.url)["secret"])
    stale = dict(genuine.headers) | {"webhook-timestamp": str(int(genuine.headers["webhook-timestamp"]) + 60)}
    with pytest.raises(WebhookVerificationError):
        type(genuine)(genuine.path, stale, genuine.body).verified(webhook["secret"])


def test_a_failed_delivery_is_retried_with_the_same_message(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver(500, 503, 204) as receiver:
        webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        assert len(receiver.received) == 1
        (delivery,) = hooks.log(webhook)
        assert (delivery["status"], [each["result"] for each in delivery["attempts"]]) == (
            "PENDING",
            ["answered 500"],
        )

        shop.pipeline.wait(6)
        shop.pipeline.run()
        assert len(receiver.received) == 2
        shop.pipeline.wait(200)
        shop.pipeline.run()
        assert len(receiver.received) == 2, "five minutes have not passed"
        shop.pipeline.wait(140)
        shop.pipeline.run()

        assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
        assert len({each.body for each in receiver.received}) == 1
        assert hooks.log(webhook)[0]["status"] == "DELIVERED"
        assert len(receiver.received) == 3


def test_retry_after_is_respected(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver(503, headers={"retry-after": "120"}) as receiver:
        hooks.register(receiver.url, eventTypes=["order.placed"])
        for _ in range(2):
            shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        for _ in range(3):
            shop.pipeline.wait(35)
            shop.pipeline.run()
        assert len(receiver.received) == 1, "it has not been left alone for two minutes"

        receiver.answers = [204]
        for _ in range(2):
            shop.pipeline.wait(20)
            shop.pipeline.run()
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 2


@pytest.mark.full
def test_a_delivery_is_dead_lettered_after_a_day_and_restarts_when_redriven(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver(500) as receiver:
        webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        for _ in range(110):  # a message hops, fifteen minutes at a time
            shop.pipeline.wait(901)
            shop.pipeline.run()

        assert len(receiver.received) == 8
        assert hooks.log(webhook)[0]["status"] == "FAILED"
        (message,) = shop.pipeline.dead_letters("webhook_sender")

        receiver.answers = [204]
        shop.pipeline.put("webhook_sender", message)
        shop.pipeline.put("webhook_sender", message)
        shop.pipeline.run()
        assert hooks.log(webhook)[0]["status"] == "DELIVERED"
        assert len(receiver.received) == 9


def test_410_disables_the_webhook(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver(410) as receiver:
        webhook = hooks.register(receiver.url)
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        assert len(receiver.received) == 1
        assert hooks.view(webhook)["status"] == "DISABLED"
        assert {each["status"] for each in hooks.log(webhook)} == {"FAILED"}
        assert shop.pipeline.dead_letters("webhook_sender") == []
        assert hooks.replay(webhook, hooks.log(webhook)[0]) == 409


def test_a_redirect_is_not_followed_and_no_success(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver() as elsewhere, FakeReceiver(301, headers={"location": elsewhere.url}) as receiver:
        webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()

        assert elsewhere.received == []
        assert hooks.log(webhook)[0]["attempts"][0]["result"] == "answered 301"


def test_a_hanging_callback_is_tried_once_and_then_backed_off(shop: Shop, hooks: Hooks) -> None:
    with FakeReceiver(HANGS) as hanging, FakeReceiver() as receiver:
        hanging_hook = hooks.register(hanging.url)
        hooks.register(receiver.url, "bob")
        for _ in range(3):
            shop.order(order_of("alice", 1, pen=1))
        shop.order(order_of("bob", 1, ink=1))
        shop.pipeline.run()

        # of nine deliveries one was tried, since it rests after that
        assert len(hanging.received) == 1
        assert types_of(receiver) == SHIPPED
        assert {each["status"] for each in hooks.log(hanging_hook)} == {"PENDING"}
        # and when it has recovered it gets them all
        hanging.answers = [204]
        for _ in range(8):
            shop.pipeline.wait(30)
            shop.pipeline.run()
        assert len({each.headers["webhook-id"] for each in hanging.received}) == 9


def test_a_forbidden_address_is_never_connected_to(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
    shop.pipeline.configure("webhook_sender", LOOPBACK_WEBHOOKS="")  # as it is on AWS
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert receiver.received == []
    assert hooks.log(webhook)[0]["attempts"][0]["result"] == "the address is not a public one"


@pytest.mark.parametrize("fault", ["dynamodb.Query", "dynamodb.PutItem", "sqs.SendMessageBatch"])
def test_a_failed_dispatch_is_retried(shop: Shop, hooks: Hooks, receiver: FakeReceiver, fault: str) -> None:
    hooks.register(receiver.url, eventTypes=["order.placed"])
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    with shop.pipeline.refusing(fault):
        shop.pipeline.deliver("webhook_dispatcher")
    shop.pipeline.run()

    assert types_of(receiver) == ["order.placed"]


@pytest.mark.parametrize("nth", range(5))
def test_a_sender_whose_call_fails_at_any_point_loses_nothing(
    shop: Shop, hooks: Hooks, receiver: FakeReceiver, nth: int
) -> None:
    # GIVEN a delivery, and a sender whose write number n is refused
    webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    shop.pipeline.deliver("webhook_dispatcher")
    calls = iter(range(100))

    def refuse(**_: object) -> Any:
        if next(calls) >= nth:
            raise ConnectionError("AWS is gone")

    with shop.pipeline.hooked("before-call.dynamodb.UpdateItem", refuse):
        shop.pipeline.deliver("webhook_sender")
    # WHEN its claims have expired
    shop.pipeline.wait(31)
    shop.pipeline.run()
    shop.pipeline.wait(31)
    shop.pipeline.run()
    # THEN it has arrived, perhaps twice under one id
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
    assert hooks.log(webhook)[0]["status"] == "DELIVERED"


def test_a_new_secret_signs_beside_the_old_one(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    old = hooks.register(receiver.url, eventTypes=["order.placed"])
    new = shop.pipeline.ask("POST", f"/webhooks/{old['webhookId']}/rotate-secret").body
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert new["secret"] != old["secret"]
    assert receiver.received[0].verified(old["secret"]) == receiver.received[0].verified(new["secret"])

    shop.pipeline.wait(24 * 3600)
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    assert receiver.received[-1].headers["webhook-signature"].count("v1,") == 1


def test_a_delivery_can_be_replayed(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    webhook = hooks.register(receiver.url, eventTypes=["order.placed"])
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()

    assert hooks.replay(webhook, hooks.log(webhook)[0]) == 202
    shop.pipeline.run()

    first, second = receiver.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert [each["result"] for each in hooks.log(webhook)[0]["attempts"]] == ["answered 204"] * 2


def test_the_log_is_paged_newest_first(shop: Shop, hooks: Hooks, receiver: FakeReceiver) -> None:
    webhook = hooks.register(receiver.url)
    for _ in range(2):
        shop.order(order_of("alice", 10, pen=1))
        shop.pipeline.run()
    whole = [each["deliveryId"] for each in hooks.log(webhook)]
    path, paged = f"/webhooks/{webhook['webhookId']}/deliveries", []
    query = "?limit=4"
    while query:
        answer = shop.pipeline.ask("GET", path + query)
        paged += [each["deliveryId"] for each in answer.body["deliveries"]]
        link = answer.headers.get("Link", "")
        query = link.removeprefix("<deliveries").partition(">")[0]

    assert len(whole) == 6
    assert whole == sorted(whole, reverse=True)
    assert paged == whole


def test_a_removed_webhook_gets_nothing_and_is_not_found(
    shop: Shop, hooks: Hooks, receiver: FakeReceiver
) -> None:
    webhook = hooks.register(receiver.url)
    path = f"/webhooks/{webhook['webhookId']}"
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.publish_changes()
    shop.pipeline.deliver("webhook_dispatcher")

    assert shop.pipeline.ask("DELETE", path).status == 200
    shop.pipeline.run()

    assert receiver.received == []
    for method, below in [("GET", ""), ("DELETE", ""), ("POST", "/rotate-secret"), ("GET", "/deliveries")]:
        assert shop.pipeline.ask(method, path + below).status == 404


def test_the_secret_is_shown_once_and_to_the_request_that_made_it(
    hooks: Hooks, receiver: FakeReceiver
) -> None:
    body = {"customerId": "alice", "url": receiver.url}
    ask = hooks.pipeline.ask
    first, again = (ask("POST", "/webhooks", body, {"Idempotency-Key": "key-1"}) for _ in range(2))

    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "secret" not in hooks.view(first.body)
    listed = ask("GET", "/webhooks?customerId=alice").body["webhooks"]
    assert listed == [hooks.view(first.body)]
    other = ask(
        "POST",
        "/webhooks",
        body | {"customerId": "alice", "url": receiver.url + "x"},
        {"Idempotency-Key": "key-1"},
    )
    assert (other.status, other.body["type"]) == (422, "urn:order-capture:problem:idempotency-key-reused")


def test_a_customer_has_ten_at_most(hooks: Hooks, receiver: FakeReceiver) -> None:
    for _ in range(10):
        hooks.register(receiver.url)
    refused = hooks.pipeline.ask("POST", "/webhooks", {"customerId": "alice", "url": receiver.url})

    assert (refused.status, refused.body["type"]) == (409, "urn:order-capture:problem:too-many-webhooks")
    hooks.register(receiver.url, "bob")


def test_a_customer_can_access_only_their_own_webhooks(
    shop: Shop, hooks: Hooks, receiver: FakeReceiver
) -> None:
    webhook = hooks.register(receiver.url)
    shop.order(order_of("alice", 10, pen=1))
    shop.pipeline.run()
    (delivery, *_) = hooks.log(webhook)
    path, ask = f"/webhooks/{webhook['webhookId']}", hooks.pipeline.ask
    unheard = f"/webhooks/bob.{'1' * 32}"
    for method, below in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/rotate-secret"),
        ("GET", "/deliveries"),
        ("POST", f"/deliveries/{delivery['deliveryId']}/replay"),
    ]:
        foreign = ask(method, path + below, claims=customer_claims("bob"))
        absent = ask(method, unheard + below, claims=customer_claims("bob"))
        assert (foreign.status, foreign.body) == (absent.status, absent.body)
        assert foreign.status == 404
    bob = customer_claims("bob")
    assert ask("POST", "/webhooks", {"customerId": "alice", "url": receiver.url}, claims=bob).status == 403
    assert ask("GET", "/webhooks?customerId=alice", claims=bob).status == 403
    assert ask("GET", path, claims=customer_claims("alice")).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example.com/",
        "ftp://shop.example.com/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://alice:secret@shop.example.com/",
        "https://shop.example.com/#here",
        "https://shop.example.com:65536/",
        "https://shop.example.com:0/",
        "https://shop.example.com/a b",
        "https://shop.example.com/\r\nx: y",
        "https://shop.example.com\\@127.0.0.1/",
        "https://shop.example.com/{id}",
        "https://shop.example.com/%zz",
        "https://żółw.example.com/",
        "https://shop..example.com/",
        "https://-shop.example.com/",
        "//shop.example.com/",
        "",
        "https://shop.example.com/" + "x" * 512,
    ],
)
def test_an_invalid_url_is_rejected_at_once(shop: Shop, url: str) -> None:
    answer = shop.pipeline.ask("POST", "/webhooks", {"customerId": "alice", "url": url})

    assert (answer.status, [each["field"] for each in answer.body["errors"]]) == (400, ["url"])


def test_loopback_is_rejected_unless_the_template_allows_it(shop: Shop) -> None:
    answer = shop.pipeline.ask("POST", "/webhooks", {"customerId": "alice", "url": "http://127.0.0.1:8080/"})

    assert (answer.status, answer.body["errors"]) == (
        400,
        [{"field": "url", "message": "must begin with https://"}],
    )


def test_an_unreadable_event_is_dead_lettered_by_this_consumer(shop: Shop) -> None:
    shop.pipeline.put("webhook_dispatcher", '{"type": "order.placed"}')
    shop.pipeline.run()

    assert len(shop.pipeline.dead_letters("webhook_dispatcher")) == 1
