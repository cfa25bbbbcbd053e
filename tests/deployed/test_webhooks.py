"""A receiver on this machine gets orders' events through the engine, with every role enforced."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from order_capture.domain.webhooks import MIN_BACKOFF, SLOTS
from tests.deployed.shop import StackClient, View, body_of, eventually, order_body
from tests.support.receiver import HANGS, FakeReceiver
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("its receivers are on the loopback interface")
SHIPPED = [("1", "order.placed"), ("2", "order.confirmed"), ("3", "order.shipped")]


def registered(shop: StackClient, customer: str, receiver: FakeReceiver, **more: Sequence[str]) -> View:
    answer = shop.post("/webhooks", {"customerId": customer, "url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    return body_of(answer)


def arrived(receiver: FakeReceiver) -> int:
    """The number of distinct messages: on a busy machine one may arrive twice, after a late response."""
    return len({each.headers["webhook-id"] for each in receiver.received})


def log(shop: StackClient, webhook: View) -> list[View]:
    deliveries: list[View] = body_of(shop.get(f"/webhooks/{webhook['webhookId']}/deliveries?limit=100"))[
        "deliveries"
    ]
    return deliveries


def test_every_event_of_every_order_arrives_signed(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    with FakeReceiver() as receiver:
        webhook = registered(shop, alice, receiver)
        # when
        placed = [shop.place(alice, {pen: 1}, "1.00") for _ in range(10)]
        eventually(lambda: arrived(receiver), lambda count: count == 30)
        # then
        events = [each.verified(webhook["secret"]) for each in receiver.received]
    story = {
        order: sorted({(event["sequence"], event["type"]) for event in events if event["subject"] == order})
        for order in placed
    }
    assert story == dict.fromkeys(placed, SHIPPED)
    last = next(event for event in events if event["subject"] == placed[0] and event["sequence"] == "3")
    assert last["data"] == shop.order(placed[0])


def test_a_retried_delivery_has_its_id_and_is_logged(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    with FakeReceiver(503, 204) as receiver:
        webhook = registered(shop, alice, receiver, eventTypes=["order.shipped"])
        # when
        shop.place(alice, {pen: 1}, "1.00")
        (delivery,) = eventually(
            lambda: log(shop, webhook), lambda found: [each["status"] for each in found] == ["DELIVERED"]
        )
        # then
        first, second = receiver.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery["deliveryId"]
        assert [each["result"] for each in delivery["attempts"]] == ["answered 503", "answered 204"]
        # and a replay delivers it once more
        path = f"/webhooks/{webhook['webhookId']}/deliveries/{delivery['deliveryId']}/replay"
        assert shop.post(path, "").status_code == 202
        eventually(lambda: len(receiver.received), lambda count: count >= 3)
        assert receiver.received[2].body == first.body


def test_of_twenty_simultaneous_registrations_ten_succeed(shop: StackClient) -> None:
    # given
    alice = shop.new_customer()
    bodies = [{"customerId": alice, "url": f"http://127.0.0.1:9/{number}"} for number in range(20)]
    # when
    with ThreadPoolExecutor(len(bodies)) as clients:
        statuses = [
            each.status_code for each in clients.map(lambda body: shop.post("/webhooks", body), bodies)
        ]
    # then
    assert statuses.count(201) == 10
    assert {*statuses} == {201, 409}
    listed = body_of(shop.get(f"/webhooks?customerId={alice}"))["webhooks"]
    assert len(listed) == 10
    # and once one is removed, there is room for one more
    assert shop.request("DELETE", f"/webhooks/{listed[0]['webhookId']}").status_code == 200
    assert [shop.post("/webhooks", body).status_code for body in bodies[:2]] == [201, 409]


def test_repeating_a_registration_after_its_removal_registers_nothing(shop: StackClient) -> None:
    # given
    alice, bob, pen, key = shop.new_customer(), shop.new_customer(), shop.new_product(), str(uuid.uuid4())
    with FakeReceiver() as receiver:
        body = {"customerId": alice, "url": receiver.url}
        first = shop.post("/webhooks", body, Idempotency_Key=key)
        rotations = [
            shop.post(f"/{first.headers['Location']}/rotate-secret", "", Idempotency_Key=key)
            for _ in range(2)
        ]
        path = f"/{first.headers['Location']}"
        removals = [shop.request("DELETE", path, Idempotency_Key=key) for _ in range(2)]
        # when
        again = shop.post("/webhooks", body, Idempotency_Key=key)
        foreign = shop.post("/webhooks", {"customerId": bob, "url": receiver.url}, Idempotency_Key=key)
        shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        shop.come_to_rest()
        # then
        assert (again.status_code, again.text) == (first.status_code, first.text)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert foreign.status_code == 422
        for one, two in (rotations, removals):
            assert (one.status_code, one.text) == (two.status_code, two.text)
        assert receiver.received == []
        assert shop.get(f"/{first.headers['Location']}").status_code == 404


def test_410_disables_the_webhook(shop: StackClient) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    with FakeReceiver(410) as receiver:
        webhook = registered(shop, alice, receiver)
        shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        view = eventually(
            lambda: body_of(shop.get(f"/webhooks/{webhook['webhookId']}")),
            lambda view: view["status"] == "DISABLED",
        )
        assert view["status"] == "DISABLED"
        # Events of the order that were being sent when the first answer came have arrived. No later one does.
        shop.come_to_rest()
        arrived_by_then = len(receiver.received)
        shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        shop.come_to_rest()
        assert len(receiver.received) == arrived_by_then


def test_a_hanging_receiver_delays_no_order_and_no_other_webhook(shop: StackClient) -> None:
    # given
    alice, bob, pen = shop.new_customer(), shop.new_customer(), shop.new_product()
    with FakeReceiver(HANGS) as hanging, FakeReceiver() as receiver:
        registered(shop, alice, hanging)
        webhook = registered(shop, bob, receiver)
        for _ in range(5):
            shop.place(alice, {pen: 1}, "1.00")
        eventually(lambda: len(hanging.received), lambda count: count >= 1)
        # when
        began = time.monotonic()
        bobs = shop.place(bob, {pen: 1}, "1.00")
        shop.ended(bobs)
        eventually(lambda: arrived(receiver), lambda count: count == 3)
        # then
        seconds = time.monotonic() - began
        assert {each.verified(webhook["secret"])["subject"] for each in receiver.received} == {bobs}
        assert seconds < 30
        # and of fifteen deliveries to the one that hangs one was tried for each slot, and one after each rest
        assert len(hanging.received) <= max(SLOTS.values()) + seconds / MIN_BACKOFF + 2


def test_the_local_engine_is_not_a_receiver(shop: StackClient) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    engine = f"{shop.endpoint}/_ministack/reset"
    refused = [
        shop.post("/webhooks", {"customerId": alice, "url": engine}),
        shop.post("/order", {**order_body(alice, {pen: 1}, "1.00"), "callbackUrl": engine}),
    ]
    assert [answer.status_code for answer in refused] == [400, 400]
    assert [body_of(answer)["errors"] for answer in refused] == [
        [{"field": field, "message": "must not be the port of the local engine itself"}]
        for field in ("url", "callbackUrl")
    ]


def test_a_private_address_is_rejected_or_never_connected_to(shop: StackClient) -> None:
    alice = shop.new_customer()
    for url in ("https://127.0.0.1/", "https://169.254.169.254/", "http://10.0.0.1/", "https://localhost/"):
        answer = shop.post("/webhooks", {"customerId": alice, "url": url})
        assert (answer.status_code, body_of(answer)["errors"][0]["field"]) == (400, "url")
