"""Products and accounts in the console: found, read at any time, changed after a confirmation."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from playwright.sync_api import expect

from tests.browser.console import Console
from tests.deployed.shop import Balances, StackClient, body_of, eventually

PRODUCTS = 300
PAGE = 50

pytestmark = pytest.mark.full


def test_a_long_list_is_read_page_by_page(console: Console, shop: StackClient) -> None:
    # given
    prefix = f"many-{uuid.uuid4()}"

    def add(number: int) -> int:
        return shop.post("/stock", {"productId": f"{prefix}-{number:03}", "balance": number}).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(add, range(PRODUCTS))) == {200}
    # when
    console.open("stock")
    console.page.get_by_label("Ids that begin with").fill(prefix)
    # then
    rows = console.rows("products")
    expect(rows.first).to_contain_text(prefix)
    expect(rows).to_have_count(PAGE)
    assert len([each for each in console.requests if each == "GET /v1/stock"]) <= 2, "more than is shown"
    for number in range(2 * PAGE, PRODUCTS + 1, PAGE):
        console.button("Load more products").click()
        expect(rows).to_have_count(number)
    expect(console.main()).to_contain_text("These are all products.")
    ids = rows.locator("th").all_inner_texts()
    assert ids == [f"{prefix}-{number:03}" for number in range(PRODUCTS)]
    expect(rows.nth(299)).to_contain_text("299 to sell")


def test_accounts_are_found_by_how_their_ids_begin(console: Console, shop: StackClient) -> None:
    # given
    alice = shop.new_customer("12.34")
    console.open("stock")
    # when
    console.page.get_by_label("Stock or accounts").get_by_role("link", name="Accounts").click()
    console.page.get_by_label("Ids that begin with").fill(alice[:-1])
    # then
    expect(console.rows("accounts")).to_have_count(1)
    expect(console.rows("accounts")).to_contain_text("12.34 to spend")
    console.link(alice).click()
    expect(console.heading(alice)).to_be_visible()
    # and: nothing, in words
    console.open("accounts", prefix="nobody-is-called-so")
    expect(console.main()).to_contain_text("No account begins with “nobody-is-called-so”.")


def test_stock_is_adjusted_after_a_question(console: Console, shop: StackClient) -> None:
    # given
    pen = shop.new_product(10)
    console.open("stock", pen)
    stands = console.region("How it stands").get_by_role("listitem")
    expect(stands).to_have_text(["10 to sell", "0 held", "0 shipped"])
    dialog = console.dialog(f"Adjust {pen}")
    # when
    console.button("Adjust…").click()
    dialog.get_by_label("Add, or take with a minus").fill("-3")
    dialog.get_by_role("button", name="Go on").click()
    # then: it asks for confirmation
    expect(dialog.get_by_role("status")).to_have_text(f"{pen}: 10 → 7 to sell")
    assert shop.units(pen) == Balances.of(10)
    # and does it
    dialog.get_by_role("button", name="Do it").click()
    expect(dialog).to_be_hidden()
    expect(stands.first).to_have_text("7 to sell")
    assert shop.units(pen) == Balances.of(7)
    expect(console.region("Entries").get_by_role("row", name="Adjusted").first).to_contain_text("-3")


def test_what_can_not_be_taken_is_refused_in_the_dialog(console: Console, shop: StackClient) -> None:
    # given
    pen = shop.new_product(2)
    console.open("stock", pen)
    console.button("Adjust…").click()
    dialog = console.dialog(f"Adjust {pen}")
    dialog.get_by_label("Add, or take with a minus").fill("-3")
    dialog.get_by_role("button", name="Go on").click()
    # when
    dialog.get_by_role("button", name="Do it").click()
    # then
    expect(dialog.get_by_role("alert")).to_contain_text("balance")
    dialog.get_by_role("button", name="Back").click()
    dialog.get_by_role("button", name="Not now").click()
    expect(dialog).to_be_hidden()
    assert shop.units(pen) == Balances.of(2)


def test_a_product_is_added_priced_and_deleted(console: Console, shop: StackClient) -> None:
    # given
    pen = f"pen-{uuid.uuid4()}"
    console.open("stock")
    # when, then: added
    console.button("New product…").click()
    dialog = console.dialog("New product")
    dialog.get_by_label("Product").fill(pen)
    dialog.get_by_label("Units to sell").fill("4")
    dialog.get_by_label("Price a unit").fill("9.50")
    dialog.get_by_role("button", name="Go on").click()
    dialog.get_by_role("button", name="Do it").click()
    expect(console.heading(pen)).to_be_visible()
    expect(console.region("How it stands")).to_contain_text("A unit costs 9.50.")
    # priced
    console.button("Price…").click()
    dialog = console.dialog(f"Price of {pen}")
    dialog.get_by_label("Price a unit").fill("8")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_role("status")).to_have_text(f"{pen}: 9.50 → 8.00")
    dialog.get_by_role("button", name="Do it").click()
    expect(console.region("How it stands")).to_contain_text("A unit costs 8.00.")
    # deleted
    console.button("Delete…").click()
    console.dialog(f"Delete {pen}?").get_by_role("button", name="Delete").click()
    expect(console.heading("Stock and accounts")).to_be_visible()
    assert shop.get(f"/stock/{pen}").status_code == 404


def test_the_balance_of_any_moment_is_shown(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer("100.00"), shop.new_product(10)
    shipped = shop.ended(shop.place(alice, {pen: 4}, "25.50"))
    shop.come_to_rest()

    def entries() -> list[dict[str, str]]:
        found: list[dict[str, str]] = body_of(shop.get(f"/account/{alice}/history"))["entries"]
        return found

    assert len(eventually(entries, lambda found: len(found) == 3)) == 3
    # when
    console.open("accounts", alice)
    # then
    rows = console.rows("Entries")
    expect(rows).to_have_count(3)
    expect(rows.locator("td:nth-child(2)")).to_have_text(["Settled", "Held", "Adjusted"])
    expect(rows.first.locator("td").nth(4)).to_have_text("74.50")
    expect(rows.first.get_by_role("link")).to_have_attribute("title", shipped["orderId"])
    # and: before the order, in the reader's time zone
    expect(console.region("Over time").get_by_role("img")).to_have_attribute(
        "aria-label", "to spend, held and spent over the entries below"
    )
    held = next(each["time"] for each in entries() if each["type"] == "HOLD")
    local = datetime.fromisoformat(held).astimezone().replace(tzinfo=None)
    before = local.isoformat(timespec="milliseconds")
    console.page.get_by_label("As it was at").fill(before)
    then = console.region("Over time").get_by_role("status")
    expect(then).to_contain_text("74.50 to spend")
    expect(then).to_contain_text("25.50 held")
    # and: by a click on the chart, whose left end is the beginning
    plot = console.region("Over time").locator(".u-over")
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": 2, "y": box["height"] / 2})
    expect(then).to_contain_text("100.00 to spend")
    expect(then).to_contain_text("0.00 held")
