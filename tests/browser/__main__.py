"""`make screenshots`: the console and the dashboard as images for the docs, from a temporary stack."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, ViewportSize, expect

from local import stack
from local.console import step
from local.engine import ROOT, fresh
from local.receiver import DEFAULT_PORT, Receiver
from order_capture_ops.cli import Parser, console, run
from order_capture_ops.dashboard.draw import draw
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import described
from tests.browser import chromium
from tests.browser.console import Console, opened
from tests.browser.picture import small
from tests.deployed.shop import StackClient, body_of
from tests.support.factories import body_of as message_of
from tests.support.factories import details_of, ship

PICTURES = ROOT / "docs/how-to/open-the-console"
DASHBOARD = ROOT / "docs/how-to/observe/dashboard.png"
MOST_BYTES = 150_000
DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
CUSTOMER = "demo-customer-1"
PRODUCT = "demo-espresso-beans"
SECONDS = 180
"""Timeout of any step: many functions start at once on a new engine."""

_HALFWAY = """() => {
    const refused = document.querySelector(".tiles .bad .number");
    return refused !== null && Number(refused.textContent) >= 40;
}"""


def main(arguments: list[str] | None = None) -> int:
    """Take all screenshots."""
    Parser(prog="make screenshots", description=__doc__, example="make screenshots").parse_args(arguments)
    return run(_take_all)


def _take_all() -> int:
    path = chromium.program()
    if path is None:
        raise CommandError(chromium.MISSING)
    expect.set_options(timeout=SECONDS * 1000)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with fresh() as engine, TemporaryDirectory() as logs, Receiver(port=DEFAULT_PORT) as receiver:
        with step("Building and deploying the stack with sam"):
            shop = StackClient(stack.deploy(engine, Path(logs) / "deploy.log"))
        with chromium.launched(path) as browser:
            with step("Placing orders"):
                webhook, order = _play(browser, shop, receiver)
            with step("Taking pictures"):
                _take(browser, shop, webhook, order)
                _take_dashboard(browser, shop)
    sizes = {picture: picture.stat().st_size for picture in [*sorted(PICTURES.glob("*.png")), DASHBOARD]}
    for picture, size in sizes.items():
        console.print(f"  {picture.relative_to(ROOT)} {size / 1000:.0f} kB")
    if large := [picture.name for picture, size in sizes.items() if size > MOST_BYTES]:
        raise CommandError(f"larger than {MOST_BYTES / 1000:.0f} kB: {', '.join(large)}")
    return 0


def _play(browser: Browser, shop: StackClient, receiver: Receiver) -> tuple[str, str]:
    """Create orders of all kinds, webhooks and dead letters; returns a webhook's and an order's id."""
    hook = body_of(shop.post("/webhooks", {"customerId": CUSTOMER, "url": receiver.url}))
    receiver.secret = hook["secret"]
    with opened(browser, shop) as page:
        page.enter()
        page.expect_live()
        page.button("Batch of 20").click()
        expect(page.button("Dismiss")).to_be_visible()
    shop.come_to_rest()
    orders = body_of(shop.get(f"/orders?customerId={CUSTOMER}&status=SHIPPED"))["orders"]
    order: str = orders[0]["orderId"]
    for queue, body in (
        ("OrderUpdate", '{"type": "order.parcelled", "weight": 3}'),
        ("OrderUpdate", "Hello?"),
        ("ShipOrder", message_of(ship(details_of(order, CUSTOMER)))),
    ):
        shop.sqs.send_message(QueueUrl=shop.outputs[f"{queue}DlqUrl"], MessageBody=body)
    return str(hook["webhookId"]), order


def _take(browser: Browser, shop: StackClient, webhook: str, order: str) -> None:
    with (
        opened(browser, shop, viewport=DESK, color_scheme="light") as light,
        opened(browser, shop, viewport=DESK, color_scheme="dark") as dark,
        opened(browser, shop, viewport=PHONE, color_scheme="light") as phone,
    ):
        for page in (light, dark, phone):
            page.enter()
            page.expect_live()
            expect(page.page.get_by_role("link", name="dead letters of order_update")).to_be_visible()
        # Taken while orders are in progress, so that the map shows them.
        light.button("Flash sale: 100 for 10").click()
        light.page.wait_for_function(_HALFWAY)
        on_the_way = {
            name: page.page.screenshot()
            for name, page in (("pipeline", light), ("pipeline-dark", dark), ("pipeline-phone", phone))
        }
        for name, screenshot in on_the_way.items():
            _save(light, name, screenshot)
        expect(light.button("Dismiss")).to_be_visible()
        shop.come_to_rest()
        for name, words, path in (
            ("orders", "not enough in stock", ("orders",)),
            ("order", "Delivered", ("orders", order)),
            ("stock", PRODUCT, ("stock",)),
            ("product", "Settled", ("stock", PRODUCT)),
            ("dead-letters", "it is not JSON", ("dead-letters", "order_update")),
            ("reports", PRODUCT, ("reports",)),
            ("webhook", "Delivered", ("webhooks", webhook)),
        ):
            light.open(*path)
            expect(light.main()).to_contain_text(words)
            expect(light.main().locator(".loading")).to_have_count(0)
            _save(light, name)
        phone.open("orders", order)
        expect(phone.main()).to_contain_text("Delivered")
        _save(phone, "order-phone")


def _take_dashboard(browser: Browser, shop: StackClient) -> None:
    """The dashboard that `make dashboard` draws, of the minutes since the first order."""
    with TemporaryDirectory() as folder:
        drawn = Path(folder) / "dashboard.html"
        draw(described(shop.outputs), datetime.now(UTC) - timedelta(minutes=2), drawn)
        page = browser.new_page(viewport=DESK)
        page.goto(drawn.as_uri())
        DASHBOARD.write_bytes(small(page.screenshot(), page))
        page.close()


def _save(page: Console, name: str, screenshot: bytes | None = None) -> None:
    """Save a screenshot, by default of the page as it is."""
    taken = screenshot or page.page.screenshot()
    blank = page.page.context.new_page()
    (PICTURES / f"{name}.png").write_bytes(small(taken, blank))
    blank.close()


if __name__ == "__main__":
    sys.exit(main())
