"""Stuck messages are found and repaired in the console, without a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.console import Console
from tests.deployed.shop import StackClient
from tests.support.factories import body_of as message_of
from tests.support.factories import details_of, ship

NONE = "None: everything that was sent has been processed."


@pytest.fixture(autouse=True)
def no_dead_letters(shop: StackClient) -> Iterator[None]:
    urls = [shop.outputs[f"{name}DlqUrl"] for name in ("OrderUpdate", "ShipOrder")]
    for url in urls:
        shop.sqs.purge_queue(QueueUrl=url)
    yield
    for url in urls:
        shop.sqs.purge_queue(QueueUrl=url)


def test_a_poisoned_message_is_found_and_healed(console: Console, shop: StackClient) -> None:
    # given
    with shop.few_receives("OrderUpdate", receives=3):
        shop.sqs.send_message(QueueUrl=shop.outputs["OrderUpdateQueueUrl"], MessageBody="nonsense")
        # when: the map shows it without a reload
        console.link("1 dead letters of order_update: show them").click()
    # then: why
    expect(console.main()).to_contain_text("1 message could not be processed.")
    letter = console.region("order_update").locator("li")
    expect(letter).to_contain_text("it is not JSON")
    letter.get_by_text("Its body").click()
    expect(letter.locator("pre")).to_have_text("nonsense")
    # and: the dry run shows that a redrive would not help
    console.button("Redrive…").click()
    redrive = console.dialog("Redrive order_update")
    expect(redrive).to_contain_text("0 would go back, 1 is not ours and stays.")
    expect(redrive.get_by_role("button", name="Redrive")).to_be_hidden()
    redrive.get_by_role("button", name="Not now").click()
    # and: it is deleted, after a confirmation
    console.button("Discard 1 unreadable one…").click()
    console.dialog("Discard 1 message?").get_by_role("button", name="Discard").click()
    expect(console.main()).to_contain_text(NONE)
    expect(letter).to_have_count(0)
    console.link("Pipeline").click()
    expect(console.page.get_by_role("link", name="dead letters of order_update")).to_be_hidden()


@pytest.mark.full
def test_a_dead_letter_of_an_order_goes_back(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    order_id = shop.place(alice, {pen: 1}, "1.00")
    shop.ended(order_id)
    for _ in range(3):
        body = message_of(ship(details_of(order_id, alice)))
        shop.sqs.send_message(QueueUrl=shop.outputs["ShipOrderDlqUrl"], MessageBody=body)
    # when
    console.open("dead-letters", "ship_order")
    # then
    letters = console.region("ship_order").locator("li")
    expect(letters).to_have_count(3)
    expect(letters.first.locator("a.id")).to_have_attribute("title", order_id)
    expect(letters.first).to_contain_text("Shipped")
    expect(console.button("Discard 3 unreadable ones…")).to_be_hidden()
    # and
    console.button("Redrive…").click()
    redrive = console.dialog("Redrive ship_order")
    expect(redrive).to_contain_text("3 would go back.")
    redrive.get_by_role("button", name="Redrive 3").click()
    expect(redrive).to_contain_text("3 went back.")
    redrive.get_by_role("button", name="Close", exact=True).last.click()
    expect(console.main()).to_contain_text(NONE)
    shop.come_to_rest()
    assert shop.waiting(shop.outputs["ShipOrderDlqUrl"]) == 0


@pytest.mark.full
def test_a_queue_that_there_is_not_is_said_to_be_none(console: Console) -> None:
    console.open("dead-letters", "nothing")

    expect(console.main()).to_contain_text("There is no queue nothing.")
