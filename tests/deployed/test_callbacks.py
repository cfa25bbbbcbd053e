"""Orders with callback URLs on this machine get their events there, with every role enforced."""

from __future__ import annotations

from tests.deployed.shop import StackClient, View, body_of, eventually, order_body
from tests.support.receiver import HANGS, FakeReceiver, Received
from tests.support.target import needs_own_engine

SHIPPED = [("1", "order.placed"), ("2", "order.confirmed"), ("3", "order.shipped")]


def callbacks_of(customer: str) -> str:
    return f"/webhooks/{customer}.{'0' * 32}"


def secret_of(shop: StackClient, customer: str) -> str:
    answer = shop.post(f"{callbacks_of(customer)}/rotate-secret", "")
    assert answer.status_code == 200, answer.text
    return str(body_of(answer)["secret"])


def place(shop: StackClient, customer: str, product: str, url: str) -> str:
    answer = shop.post("/order", {**order_body(customer, {product: 1}, "1.00"), "callbackUrl": url})
    assert answer.status_code == 202, answer.text
    return str(body_of(answer)["orderId"])


def log(shop: StackClient, customer: str) -> list[View]:
    answer = shop.get(f"{callbacks_of(customer)}/deliveries?limit=100")
    if answer.status_code == 404:  # the first order's first event makes the callbacks
        return []
    deliveries: list[View] = body_of(answer)["deliveries"]
    return deliveries


def at(receiver: FakeReceiver, path: str) -> list[Received]:
    return [each for each in list(receiver.received) if each.path == path]


@needs_own_engine("its receivers are on the loopback interface")
def test_every_event_of_each_order_arrives_signed_at_its_own_address(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    secret = secret_of(shop, alice)
    with FakeReceiver() as receiver:
        base = f"http://127.0.0.1:{receiver.port}"
        # when
        placed = {f"/orders/{n}": place(shop, alice, pen, f"{base}/orders/{n}") for n in range(10)}
        shop.place(alice, {pen: 1}, "1.00")
        eventually(
            lambda: len({e.headers["webhook-id"] for e in receiver.received}), lambda count: count == 30
        )
        shop.come_to_rest()
        # then
        for path, order_id in placed.items():
            events = [each.verified(secret) for each in at(receiver, path)]
            assert {event["subject"] for event in events} == {order_id}
            assert sorted({(event["sequence"], event["type"]) for event in events}) == SHIPPED
            last = next(event for event in events if event["sequence"] == "3")
            assert last["data"] == shop.order(order_id)
        assert {each.path for each in receiver.received} == placed.keys()


@needs_own_engine("its receivers are on the loopback interface")
def test_a_secret_fetched_later_verifies_earlier_failed_deliveries(shop: StackClient) -> None:
    # given an order whose callback created the secret, and a receiver that does not know it
    alice, pen = shop.new_customer(), shop.new_product()
    with FakeReceiver(401, 401, 401, 204) as receiver:
        place(shop, alice, pen, receiver.url)
        eventually(lambda: len(receiver.received), lambda count: count >= 1)
        # when
        secret = secret_of(shop, alice)
        receiver.answers = [204]
        # then
        eventually(
            lambda: {e["status"] for e in log(shop, alice)}, lambda statuses: statuses == {"DELIVERED"}
        )
        assert receiver.received[-1].verified(secret)
        assert {each["url"] for each in log(shop, alice)} == {receiver.url}
        # and a replay delivers it once more
        sent, (delivery, *_) = len(receiver.received), log(shop, alice)
        path = f"{callbacks_of(alice)}/deliveries/{delivery['deliveryId']}/replay"
        assert shop.post(path, "").status_code == 202
        eventually(lambda: len(receiver.received), lambda count: count > sent)
        assert receiver.received[-1].headers["webhook-id"] == delivery["deliveryId"]


@needs_own_engine("its receivers are on the loopback interface")
def test_410_ends_the_callbacks_of_that_order(shop: StackClient) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    with FakeReceiver(410) as gone, FakeReceiver() as receiver:
        place(shop, alice, pen, gone.url)
        place(shop, alice, pen, receiver.url)
        deliveries = eventually(
            lambda: log(shop, alice),
            lambda found: len(found) == 6 and "PENDING" not in {each["status"] for each in found},
        )
        ended = {each["status"] for each in deliveries if each["url"] == gone.url}
        assert ended == {"FAILED"}
        # Its events may follow each other so closely that a second one is under way when the answer comes.
        assert 1 <= len(gone.received) <= 2
        assert len({each.headers["webhook-id"] for each in receiver.received}) == 3


@needs_own_engine("its receivers are on the loopback interface")
def test_a_hanging_host_delays_neither_another_host_nor_another_customer(shop: StackClient) -> None:
    alice, bob, pen = shop.new_customer(), shop.new_customer(), shop.new_product()
    with FakeReceiver(HANGS) as hanging, FakeReceiver() as alices, FakeReceiver() as bobs:
        for _ in range(5):
            place(shop, alice, pen, hanging.url)
        eventually(lambda: len(hanging.received), lambda count: count >= 1)
        place(shop, alice, pen, alices.url)
        place(shop, bob, pen, bobs.url)
        for receiver in (alices, bobs):
            count = eventually(
                lambda receiver=receiver: len({e.headers["webhook-id"] for e in receiver.received}),  # type: ignore[misc]
                lambda count: count == 3,
            )
            assert count == 3
        assert {each["status"] for each in log(shop, alice) if each["url"] == hanging.url} == {"PENDING"}


def test_an_invalid_url_is_rejected_at_once(shop: StackClient) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    good = order_body(alice, {pen: 1}, "1.00")
    for url in (
        "https://127.0.0.1/",
        "https://169.254.169.254/",
        "http://10.0.0.1/",
        "https://a:b@c.example/",
    ):
        answer = shop.post("/order", {**good, "callbackUrl": url})
        assert (answer.status_code, body_of(answer)["errors"][0]["field"]) == (400, "callbackUrl")
        batch = shop.post("/orders", {"orders": [good, {**good, "callbackUrl": url}]})
        accepted, refused = body_of(batch)["orders"]
        assert accepted["status"] == "PENDING"
        assert refused["problem"]["errors"][0]["field"] == "orders[1].callbackUrl"
