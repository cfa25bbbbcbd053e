"""Webhooks and reports in the console."""

from __future__ import annotations

import csv
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import expect

from local.receiver import Receiver
from tests.browser.console import Console
from tests.deployed.shop import StackClient, body_of, eventually

pytestmark = pytest.mark.full


def test_a_webhook_is_registered_followed_and_its_secret_rotated(console: Console, shop: StackClient) -> None:
    # given
    alice, pen = shop.new_customer(), shop.new_product()
    with Receiver() as receiver:
        # when: it is registered
        console.open("webhooks")
        console.page.get_by_label("Customer").fill(alice)
        console.button("Show").click()
        expect(console.main()).to_contain_text(f"{alice} has no webhooks.")
        console.button("New webhook…").click()
        form = console.dialog(f"New webhook of {alice}")
        form.get_by_label("Address").fill(receiver.url)
        form.get_by_label("confirmed").uncheck()
        form.get_by_role("button", name="Register").click()
        # then: its secret is shown once, and is the one
        secret = console.dialog("Its secret")
        receiver.secret = secret.locator("code").inner_text()
        secret.get_by_role("button", name="I have it").click()
        expect(console.link(receiver.url)).to_be_visible()
        expect(console.main()).not_to_contain_text(receiver.secret)
        # and: its deliveries are listed with their results
        shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        assert eventually(lambda: len(receiver.events), lambda number: number == 2) == 2
        console.link(receiver.url).click()
        deliveries = console.region("Deliveries").locator("ul.deliveries > li")
        expect(deliveries.locator("p.title > code")).to_have_text(["order.shipped", "order.placed"])
        expect(deliveries.first).to_contain_text("Delivered")
        # and: one is sent again
        deliveries.first.get_by_role("button", name="Replay").click()
        expect(deliveries.first.locator(".attempts li")).to_have_count(2)
        # and: another secret
        console.button("Rotate secret…").click()
        console.dialog("Rotate the secret?").get_by_role("button", name="Rotate", exact=True).click()
        expect(secret.locator("code")).to_have_text(re.compile("^whsec_"))
        expect(secret.locator("code")).not_to_have_text(receiver.secret)
        receiver.secret = secret.locator("code").inner_text()
        secret.get_by_role("button", name="I have it").click()
        shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        assert eventually(lambda: len(receiver.events), lambda number: number == 4) == 4
        assert receiver.rejected == 0
        # and: gone
        console.button("Delete…").click()
        console.dialog("Delete this webhook?").get_by_role("button", name="Delete").click()
        expect(console.main()).to_contain_text(f"{alice} has no webhooks.")


def test_an_address_that_is_none_is_refused_in_words(console: Console, shop: StackClient) -> None:
    alice = shop.new_customer()
    console.open("webhooks", customerId=alice)
    console.button("New webhook…").click()
    form = console.dialog(f"New webhook of {alice}")
    form.get_by_label("Address").fill("http://10.0.0.1/")

    form.get_by_role("button", name="Register").click()

    expect(form.get_by_role("alert")).to_contain_text("url")
    assert body_of(shop.get(f"/webhooks?customerId={alice}"))["webhooks"] == []


def test_reports_are_shown_by_day_and_product_and_taken_along(
    console: Console, shop: StackClient, tmp_path: Path
) -> None:
    # given: ids that a spreadsheet would take for formulas
    alice = shop.new_customer("10.00")
    sold, missed = f"@SUM-{uuid.uuid4()}", f"+1-{uuid.uuid4()}"
    assert shop.post("/stock", {"productId": sold, "balance": 5}).status_code == 200
    shop.ended(shop.place(alice, {sold: 2}, "4.00"))
    shop.ended(shop.place(alice, {missed: 3}, "4.00"))
    today = f"{datetime.now(UTC):%Y-%m-%d}"

    def counted() -> set[str]:
        report = body_of(shop.get(f"/reports/daily?from={today}&to={today}&limit=1000"))
        return {
            row["productId"] for row in report["products"] if sum(row["orders"]["refused"].values(), 0)
        } | {row["productId"] for row in report["products"] if row["orders"]["shipped"]}

    assert eventually(counted, lambda ids: ids >= {sold, missed}) >= {sold, missed}
    # when
    console.open("reports")
    # then
    expect(console.region("Chart").get_by_role("img")).to_be_visible()
    expect(console.region("By day").get_by_role("rowheader", name=today)).to_be_visible()
    by_product = console.region("By product")
    while not by_product.get_by_role("row", name=missed).count():
        console.button(re.compile("^Show more of")).click()
    expect(by_product.get_by_role("row", name=sold)).to_contain_text(sold)
    expect(by_product.get_by_role("row", name=missed)).to_contain_text("1 unknown product")
    # and: as a file
    console.button("Today").click()
    with console.page.expect_download() as download:
        console.button("Download CSV").click()
    assert download.value.suggested_filename == f"orders-{today}-{today}.csv"
    download.value.save_as(tmp_path / "report.csv")
    text = (tmp_path / "report.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    days = [row for row in rows if not row["productId"]]
    assert [row["day"] for row in days] == [today]
    assert int(days[0]["placed"]) >= 2
    assert float(days[0]["amountPlaced"]) >= 8
    named = {row["productId"]: row for row in rows}
    assert (named[f"'{sold}"]["shipped"], named[f"'{sold}"]["unitsShipped"]) == ("1", "2")
    assert (named[f"'{missed}"]["refused"], named[f"'{missed}"]["refused UNKNOWN_PRODUCT"]) == ("1", "1")
    assert not [each for each in named if re.match(r"[=+\-@\t\r]", each)]


def test_days_on_which_nothing_happened_are_said_to_be_empty(console: Console) -> None:
    console.open("reports", **{"from": "2020-01-01", "to": "2020-01-02"})
    expect(console.main()).to_contain_text("Nothing happened on these days.")
    console.open("reports", **{"from": "2020-01-02", "to": "2020-01-01"})
    expect(console.main()).to_contain_text("The last day is before the first.")
