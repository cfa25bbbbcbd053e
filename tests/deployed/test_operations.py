"""The operators' API on the deployed stack, with the roles of its functions enforced."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.deployed.shop import StackClient, View, body_of, eventually, order_body
from tests.support.factories import body_of as message_of
from tests.support.factories import details_of, ship
from tests.support.target import needs_own_engine


@pytest.fixture
def no_dead_letters(shop: StackClient) -> Iterator[None]:
    """A stack without dead letters of this test, before it and after."""
    urls = [shop.outputs[f"{name}DlqUrl"] for name in ("OrderUpdate", "ShipOrder")]
    for url in urls:
        shop.sqs.purge_queue(QueueUrl=url)
    yield
    for url in urls:
        shop.sqs.purge_queue(QueueUrl=url)


def queues(shop: StackClient) -> dict[str, View]:
    answer = shop.get("/operations/queues")
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in body_of(answer)["queues"]}


def letters(shop: StackClient, queue: str) -> list[View]:
    answer = shop.get(f"/operations/dead-letters/{queue}")
    assert answer.status_code == 200, answer.text
    found: list[View] = body_of(answer)["deadLetters"]
    return found


def post(shop: StackClient, path: str, body: View) -> httpx.Response:
    answer = shop.post(f"/operations/{path}", body)
    assert answer.status_code < 300, answer.text
    return answer


@needs_own_engine("it purges everybody's dead letters")
@pytest.mark.usefixtures("no_dead_letters")
def test_a_poison_message_is_found_with_its_reason_and_discarded(shop: StackClient) -> None:
    # given
    with shop.few_receives("OrderUpdate", receives=3):
        shop.sqs.send_message(QueueUrl=shop.outputs["OrderUpdateQueueUrl"], MessageBody="nonsense")
        eventually(lambda: queues(shop)["order_update"]["deadLetters"], lambda number: number == 1)
    # when
    (letter,) = letters(shop, "order_update")
    redriven = body_of(post(shop, "dead-letters/order_update/redrive", {}))
    discarded = body_of(
        post(shop, "dead-letters/order_update/discard", {"messageIds": [letter["messageId"]]})
    )
    # then
    assert (letter["reason"], letter["readable"], letter["body"]) == ("it is not JSON", False, "nonsense")
    assert (redriven["moved"], redriven["foreign"]) == (0, 1)
    assert (discarded["discarded"], discarded["kept"]) == (1, 0)
    assert queues(shop)["order_update"]["deadLetters"] == 0


@needs_own_engine("it purges everybody's dead letters")
@pytest.mark.usefixtures("no_dead_letters")
def test_a_dead_letter_of_an_order_says_how_its_order_stands_and_goes_back(shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    order_id = shop.place(alice, {pen: 1}, "1.00")
    shop.ended(order_id)
    body = message_of(ship(details_of(order_id, alice)))
    shop.sqs.send_message(QueueUrl=shop.outputs["ShipOrderDlqUrl"], MessageBody=body)
    # when
    (letter,) = eventually(lambda: letters(shop, "ship_order"), bool)
    counted = body_of(post(shop, "dead-letters/ship_order/redrive", {"dryRun": True}))
    moved = body_of(post(shop, "dead-letters/ship_order/redrive", {"limit": 10}))
    # then
    assert (letter["orderId"], letter["orderStatus"]) == (order_id, "SHIPPED")
    assert letter["reason"].startswith("ship_order")
    assert [(each["moved"], each["remaining"]) for each in (counted, moved)] == [(1, 1), (1, 0)]
    shop.come_to_rest()
    assert letters(shop, "ship_order") == [], "it was shipped before, and so nothing is to be done"


def test_orders_are_checked_now(shop: StackClient) -> None:
    order_id = shop.place(shop.new_customer(), {shop.new_product(): 1}, "1.00")
    shop.ended(order_id)

    rechecked = post(shop, "open-orders/recheck", {"orderIds": [order_id]})
    unknown = shop.post("/operations/open-orders/recheck", {"orderIds": ["nobodys"]})

    assert (rechecked.status_code, body_of(rechecked)) == (202, {"rechecked": 1})
    assert unknown.status_code == 404
    assert order_id not in {
        each["orderId"] for each in body_of(shop.get("/operations/open-orders"))["openOrders"]
    }


@needs_own_engine("it stops shipping for everybody")
def test_an_order_that_waits_for_too_long_is_listed_until_it_ends(shop: StackClient) -> None:
    # given: shipping takes no messages
    functions = shop.aws.client("lambda", endpoint_url=shop.endpoint, region_name=shop.outputs["region"])
    (mapping,) = functions.list_event_source_mappings(FunctionName=shop.outputs["ShipOrderFunctionName"])[
        "EventSourceMappings"
    ]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        alice, pen = shop.new_customer(), shop.new_product()
        answer = shop.post("/order", order_body(alice, {pen: 1}, "1.00"))
        order_id = body_of(answer)["orderId"]

        # when: the watchdog has checked it
        def listed() -> list[View]:
            found: list[View] = body_of(shop.get("/operations/open-orders?limit=100"))["openOrders"]
            return [each for each in found if each["orderId"] == order_id]

        (found,) = eventually(listed, bool)
    finally:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    # then
    assert (found["customerId"], found["status"], found["waitsFor"]) == (alice, "CONFIRMED", ["shipping"])
    assert shop.ended(order_id)["status"] == "SHIPPED"
    assert eventually(listed, lambda orders: not orders) == []
