"""Orders in the console: placing, watching, finding and cancelling them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from local.receiver import Receiver
from tests.browser.console import Console
from tests.deployed.shop import Balances, StackClient, body_of, eventually, order_body


def outcome(console: Console, name: str) -> str:
    """The outcome of a demo's orders, after all have ended."""
    demo = console.region(name)
    expect(demo.get_by_role("button", name="Dismiss")).to_be_visible()
    return demo.get_by_test_id("outcome").inner_text()


@pytest.fixture
def nothing_ships(shop: StackClient) -> Iterator[None]:
    """A system that confirms orders but does not ship them."""
    functions = shop.aws.client("lambda", endpoint_url=shop.endpoint, region_name=shop.outputs["region"])
    (mapping,) = functions.list_event_source_mappings(FunctionName=shop.outputs["ShipOrderFunctionName"])[
        "EventSourceMappings"
    ]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    shop.come_to_rest()


def test_a_demo_order_goes_from_a_click_to_shipped_live_on_the_map(console: Console) -> None:
    # given
    console.expect_live()
    console.watch_the_map()
    # when
    console.button("Place a demo order").click()
    # then
    assert outcome(console, "A demo order") == "1 shipped"
    order = console.region("A demo order").locator("a.id").get_attribute("title")
    assert order is not None
    events = console.region("What happens").locator("li", has=console.page.locator(f'a[title="{order}"]'))
    expect(events.locator(".what")).to_have_text(["shipped", "confirmed", "placed"])
    assert console.dots() >= 2, "no order moved on the map"
    assert f"GET /v1/order/{order}" not in console.requests, "it is asked for, instead of followed"
    # and: the figures have it
    expect(console.page.locator(".tiles").get_by_role("link", name="0 Under way")).to_be_visible()
    assert console.tile("Shipped") >= 1
    expect(console.region("From placed to decided")).to_contain_text(re.compile(r"half within [\d.]+ m?s"))


def test_an_order_is_refused_with_its_reason(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product(3)
    # when
    console.button("New order…").click()
    form = console.dialog("New order")
    form.get_by_label("Customer").fill(alice)
    form.get_by_label("Product").fill(pen)
    form.get_by_label("Quantity").fill("5")
    form.get_by_label("Amount").fill("20.00")
    form.get_by_role("button", name="Place the order").click()
    # then
    summary = console.region("Summary")
    expect(summary).to_contain_text("Refused")
    expect(summary).to_contain_text("not enough in stock")
    checks = console.region("Checks")
    expect(checks).to_contain_text(f"{pen}: asked for 5 units, there was 3 units.")
    expect(checks).to_contain_text("INSUFFICIENT_STOCK")
    expect(console.region("Timeline").get_by_role("listitem").last).to_contain_text(
        "rejected: INSUFFICIENT_STOCK"
    )
    assert shop.units(pen) == Balances.of(3)


def test_what_the_api_refuses_is_said_at_its_field(console: Console) -> None:
    console.button("New order…").click()
    form = console.dialog("New order")
    form.get_by_label("Customer").fill("no customer")
    form.get_by_label("Product").fill("pen")
    form.get_by_label("Amount").fill("1")

    form.get_by_role("button", name="Place the order").click()

    expect(form.get_by_role("alert")).to_contain_text("customerId")
    described = form.get_by_label("Customer").get_attribute("aria-describedby")
    expect(console.page.locator(f'[id="{described}"]')).not_to_be_empty()


@pytest.mark.full
def test_a_batch_shows_every_reason_for_a_refusal(console: Console) -> None:
    console.button("Batch of 20").click()

    words = outcome(console, "A batch of 20")

    assert words.startswith("14 shipped, 6 refused: ")
    assert set(words.partition("refused: ")[2].split(", ")) == {
        "2 INSUFFICIENT_BALANCE",
        "1 INSUFFICIENT_STOCK",
        "1 UNKNOWN_PRODUCT",
        "1 UNKNOWN_CUSTOMER",
        "1 PRICE_MISMATCH",
    }
    expect(console.page.get_by_text(re.compile("^Today .* another price"))).to_be_visible()


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_flash_sale_ships_the_last_ten_units_and_refuses_ninety_orders(
    console: Console, shop: StackClient
) -> None:
    # given
    hot = "/stock/demo-limited-edition"
    before = shop.units("demo-limited-edition").settled if shop.get(hot).status_code == 200 else 0
    # when
    console.button("Flash sale: 100 for 10").click()
    # then
    assert outcome(console, "A flash sale: 100 orders for 10 units") == (
        "10 shipped, 90 refused: INSUFFICIENT_STOCK"
    )
    shop.come_to_rest()
    console.open("stock", "demo-limited-edition")
    stands = console.region("How it stands").get_by_role("listitem")
    expect(stands).to_have_text(["0 to sell", "0 held", f"{before + 10} shipped"])
    # and each rejection shows its reason
    console.open("orders", reason="INSUFFICIENT_STOCK", status="REJECTED")
    console.button("Load more orders").click()
    expect(console.rows("Orders").nth(89)).to_contain_text("not enough in stock")


# ------------------------------------------------------------ the list
@pytest.mark.full
def test_orders_are_found_by_customer_status_reason_and_time(console: Console, shop: StackClient) -> None:
    # given
    alice, pen, ink = shop.new_customer("10.00"), shop.new_product(1), shop.new_product(9)
    shipped = shop.ended(shop.place(alice, {pen: 1}, "4.00"))
    refused = shop.ended(shop.place(alice, {pen: 1}, "4.00"))
    expensive = shop.ended(shop.place(alice, {ink: 1}, "400.00"))
    console.open("orders")
    rows = console.rows("Orders")
    filters = console.page.get_by_role("form", name="Filters")

    def expect_orders(*orders: dict[str, str]) -> None:
        links = rows.locator("a.id")
        expect(links).to_have_count(len(orders))
        titles = [links.nth(number).get_attribute("title") for number in range(len(orders))]
        assert titles == [each["orderId"] for each in orders]

    # when, then: newest first
    filters.get_by_label("Customer").fill(alice)
    filters.get_by_label("Customer").press("Enter")
    expect_orders(expensive, refused, shipped)
    filters.get_by_label("Status").select_option("Refused")
    expect_orders(expensive, refused)
    filters.get_by_label("Reason").select_option("not enough in stock")
    expect(rows.first).to_contain_text("not enough in stock")
    # and: the address contains it, so that it can be shared
    console.page.reload()
    expect(filters.get_by_label("Status")).to_have_value("REJECTED")
    expect(rows.first).to_contain_text("not enough in stock")
    # and: nothing, in words
    filters.get_by_label("Status").select_option("Expired")
    expect(console.main()).to_contain_text("No order matches this.")
    console.button("Show all orders").click()
    expect(rows.nth(2)).to_be_visible()
    # and: by time
    console.open("orders", customerId=alice, to=refused["createTime"])
    expect_orders(refused, shipped)


@pytest.mark.full
def test_a_new_order_appears_in_the_list_by_itself(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    console.expect_live()
    console.open("orders", customerId=alice)
    expect(console.main()).to_contain_text("No order matches this.")
    # when
    order_id = shop.place(alice, {pen: 2}, "7.00")
    # then
    row = console.rows("Orders").filter(has=console.page.locator(f'a[title="{order_id}"]'))
    expect(row).to_contain_text("Shipped")
    expect(row).to_contain_text(f"2 × {pen}")
    assert console.requests.count("GET /v1/orders") == 1, "it was not asked for"


# ------------------------------------------------------------ one order
@pytest.mark.full
def test_an_order_shows_how_it_went_and_what_was_delivered(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("50.00"), shop.new_product(9)
    with Receiver() as receiver:
        hook = body_of(shop.post("/webhooks", {"customerId": alice, "url": receiver.url}))
        receiver.secret = hook["secret"]
        order = shop.ended(shop.place(alice, {pen: 2}, "7.50", X_Correlation_Id="checkout 7731"))
        # when
        console.open("orders", order["orderId"])
        # then
        summary = console.region("Summary")
        expect(summary).to_contain_text("Shipped")
        expect(summary).to_contain_text("7.50")
        expect(summary).to_contain_text("checkout 7731")
        lines = console.region("Timeline").get_by_role("listitem")
        expect(lines).to_have_count(len(order["logs"]))
        expect(lines.last.locator(".gap")).to_have_text(re.compile(r"^(at once|\+ [\d.]+ m?s)$"))
        checks = console.region("Checks")
        expect(checks).to_contain_text(f"7.50 of {alice} reserved for this order.")
        expect(checks).to_contain_text(f"2 units of {pen} reserved for this order.")
        events = console.region("Events and deliveries")
        expect(events.locator("code")).to_have_text(["order.placed", "order.confirmed", "order.shipped"])
        expect(events.locator(".delivery")).to_have_count(3)
        expect(events.locator(".delivery").last).to_contain_text(f"Delivered {receiver.url}")
        # and: one of them is sent again
        known = len(receiver.events)
        with console.page.expect_response(re.compile("/replay$")) as answer:
            events.locator(".delivery").last.get_by_role("button", name="Replay").click()
        assert answer.value.status == 202
        assert known == 3
        expect(events.locator(".delivery").last.get_by_role("listitem")).to_have_count(2)


@pytest.mark.full
def test_an_order_with_fifty_lines_is_shown_whole(console: Console, shop: StackClient) -> None:
    # given
    alice, pens = shop.new_customer(), [shop.new_product(), shop.new_product()]
    order_id = shop.place(alice, [(pens[number % 2], number + 1) for number in range(50)], "50.00")
    shop.ended(order_id)
    # when
    console.open("orders", order_id)
    # then
    expect(console.heading("50 items")).to_be_visible()
    expect(console.rows("Items")).to_have_count(50)
    expect(console.region("50 items").locator("tfoot")).to_contain_text("1,275")
    assert not console.scrolls_sideways()
    console.open("orders", customerId=alice)
    expect(console.rows("Orders")).to_contain_text(f"1 × {pens[0]} and 49 more lines")


@pytest.mark.full
def test_an_unknown_order_is_said_to_be_none(console: Console) -> None:
    console.open("orders", "nobodys")

    expect(console.main().get_by_role("alert")).to_contain_text("Not found")
    expect(console.button("Try again")).to_be_visible()


# ------------------------------------------------------------ what is open
@pytest.mark.full
@pytest.mark.usefixtures("nothing_ships")
def test_an_open_order_is_cancelled(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("50.00"), shop.new_product(9)
    order_id = shop.place(alice, {pen: 2}, "7.50")
    console.open("orders", order_id)
    expect(console.region("Summary")).to_contain_text("Confirmed")
    # when: not, at first
    console.button("Cancel the order…").click()
    sure = console.dialog("Cancel this order?")
    expect(sure).to_contain_text("Confirmed → Cancelled")
    sure.get_by_role("button", name="Not now").click()
    expect(sure).to_be_hidden()
    assert shop.order(order_id)["status"] == "CONFIRMED"
    console.button("Cancel the order…").click()
    sure.get_by_role("button", name="Cancel the order").click()
    # then
    expect(console.region("Summary")).to_contain_text("Cancelled")
    expect(console.button("Cancel the order…")).to_be_hidden()
    assert eventually(lambda: shop.money(alice), lambda money: money.held == 0) == Balances.of("50.00")


@pytest.mark.full
@pytest.mark.usefixtures("nothing_ships")
def test_an_open_order_says_what_it_waits_for_and_is_checked_now(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    order_id = body_of(shop.post("/order", order_body(alice, {pen: 1}, "1.00")))["orderId"]

    def listed() -> bool:
        orders = body_of(shop.get("/operations/open-orders?limit=100"))["openOrders"]
        return order_id in {each["orderId"] for each in orders}

    assert eventually(listed, bool), "the watchdog has never checked it"
    # when
    console.open("dead-letters")
    row = console.rows("Open orders").filter(has=console.page.locator(f'a[title="{order_id}"]'))
    expect(row).to_contain_text("Confirmed")
    expect(row).to_contain_text("shipping")
    with console.page.expect_response(re.compile("/recheck$")) as answer:
        console.button(f"Check order {order_id} now").click()
    # then
    assert answer.value.status == 202
    expect(console.region("Open orders").get_by_role("status")).to_have_text("1 order will be checked now.")
