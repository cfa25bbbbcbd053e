"""The console reports when something is down, and continues when it is back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, WebSocketRoute, expect

from local import stack
from local.engine import Engine, find, fresh, start
from tests.browser.console import Console, opened, screens
from tests.deployed.shop import StackClient

pytestmark = pytest.mark.full

AWAY = "The API can't be reached."
OLD = f"{AWAY} What you see may be old."


class Kept:
    """A stack on an engine that keeps its data while it is stopped."""

    def __init__(self, engine: Engine, shop: StackClient) -> None:
        self.engine = engine
        self.shop = shop

    def stop(self) -> None:
        self.engine.stop()

    def start(self) -> None:
        self.engine = start(self.engine.port, self.engine.home, tied=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with fresh(keeps_data=True) as engine:
        log = tmp_path_factory.mktemp("deploy") / "deploy.log"
        yield Kept(engine, StackClient(stack.deploy(engine, log)))
        if running := find(engine.home):
            running.kill()


@pytest.mark.timeout(300)  # an engine is started and deployed to, stopped, and started again
def test_an_engine_that_is_restarted_is_followed_again(browser: Browser, kept: Kept) -> None:
    shop = kept.shop
    alice, pen = shop.new_customer(), shop.new_product()
    with opened(browser, shop) as console:
        # given
        console.enter()
        console.expect_live()
        live = console.page.locator("header").get_by_role("status")
        first = shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        console.open("orders", customerId=alice)
        expect(console.rows("Orders")).to_have_count(1)
        # when
        kept.stop()
        # then: it reports that, and the data read before stays visible
        expect(live).to_contain_text("reconnecting")
        console.open("reports")
        expect(console.page.get_by_role("alert").first).to_contain_text(OLD)
        expect(console.page.get_by_role("alert").first).to_contain_text("make run")
        console.open("orders", customerId=alice)
        expect(console.heading("Orders")).to_be_visible()
        # and: it is back, with the changes since
        kept.start()
        second = shop.ended(shop.place(alice, {pen: 2}, "2.00"))
        expect(console.page.get_by_text(AWAY)).to_have_count(0)
        expect(console.rows("Orders")).to_have_count(2)
        expect(live).to_have_text("live")
        links = console.rows("Orders").locator("a.id")
        assert [links.nth(number).get_attribute("title") for number in range(2)] == [
            second["orderId"],
            first["orderId"],
        ]
        # and: live
        console.open()
        console.button("Place a demo order").click()
        expect(console.region("A demo order")).to_contain_text("1 shipped")
        assert console.faults == []


def test_a_page_that_is_opened_while_the_api_is_away_waits_for_it(browser: Browser, kept: Kept) -> None:
    with opened(browser, kept.shop) as console:
        console.enter()
        # the page loads, but its first request fails
        console.page.route("**/console/config.json", lambda route: route.abort())
        console.page.reload()
        expect(console.main()).to_contain_text(f"{AWAY} Trying again in")
        expect(console.main()).to_contain_text("make run")
        console.page.unroute("**/console/config.json")
        expect(console.heading("Pipeline")).to_be_visible()


def test_no_screen_is_blank_while_the_api_is_away(
    browser: Browser, shop: StackClient, scene: dict[str, str]
) -> None:
    with opened(browser, shop) as console:
        console.enter()
        console.page.context.set_offline(True)
        for screen in screens(scene).values():
            console.open(*screen.path, **screen.query)
            expect(console.main().get_by_role("heading").first).to_be_visible()
            expect(console.page.get_by_role("alert").first).to_contain_text(OLD)
        # and: all of it is read again
        console.open("stock", scene["product"])
        console.page.context.set_offline(False)
        expect(console.page.get_by_text(AWAY)).to_have_count(0)
        expect(console.region("How it stands")).to_be_visible()
        console.expect_live()
        assert console.faults == []


def test_what_happened_while_the_connection_for_events_was_lost_is_read(
    browser: Browser, shop: StackClient
) -> None:
    alice, pen = shop.new_customer(), shop.new_product()
    with opened(browser, shop) as console:
        # given: a network that can end the connection, and blocks new ones for a while
        connections: list[WebSocketRoute] = []
        is_lost = False

        def connect(connection: WebSocketRoute) -> None:
            if is_lost:
                connection.close()
                return
            connection.connect_to_server()
            connections.append(connection)

        console.page.route_web_socket(re.compile("^ws:"), connect)
        console.enter()
        console.expect_live()
        console.open("orders", customerId=alice)
        expect(console.main()).to_contain_text("No order matches this.")
        # when
        is_lost = True
        connections[0].close()
        expect(console.page.locator("header").get_by_role("status")).to_contain_text("reconnecting")
        order = shop.ended(shop.place(alice, {pen: 1}, "1.00"))
        expect(console.rows("Orders")).to_have_count(0)
        is_lost = False
        # then
        console.expect_live()
        expect(console.rows("Orders").locator("a.id")).to_have_attribute("title", order["orderId"])
        expect(console.rows("Orders")).to_contain_text("Shipped")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            503,
            '{"type":"urn:order-capture:problem:unavailable","title":"Unavailable","status":503}',
            "Unavailable",
        ),
        (502, "<html>Bad Gateway</html>", "HTTP 502"),
        (429, '{"message": "Too Many Requests"}', "Too Many Requests"),
        (200, "<html>Sign in to this network</html>", "Unexpected answer"),
    ],
)
def test_an_answer_that_nobody_expects_ends_no_screen(
    console: Console, scene: dict[str, str], status: int, body: str, words: str
) -> None:
    """Such as that of a proxy between the page and the API."""

    def answer(route: Route) -> None:
        route.fulfill(status=status, body=body, headers={"Content-Type": "application/json"})

    console.page.route(re.compile("/v1/(?!console)"), answer)
    for screen in screens(scene).values():
        console.open(*screen.path, **screen.query)
        expect(console.main().get_by_role("heading").first).to_be_visible()
        expect(console.main().locator(".loading")).to_have_count(0)
        assert console.heading("This screen has a fault").count() == 0
    console.open("stock", scene["product"])
    expect(console.page.get_by_role("alert").first).to_contain_text(words)
    # and: it is requested again
    console.page.unroute(re.compile("/v1/(?!console)"))
    console.button("Try again").first.click()
    expect(console.region("How it stands")).to_be_visible()
