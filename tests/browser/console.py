"""The console in a browser, used as people do: by visible text and controls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Request,
    Response,
    WebSocket,
    expect,
)

from tests.deployed.shop import TIMEOUT, StackClient

WORDS_OF_CHROMIUM = re.compile("Failed to load resource|WebSocket connection to '.*' failed")
"""Chromium's own messages about failed responses and connections: the page also shows these."""
PASSWORD = "Local-password-1"
"""The password of customers that `make token` and these tests create."""


_COUNT_DOTS = """() => {
    window.dots = 0;
    new MutationObserver(changes => changes.forEach(each => { window.dots += each.addedNodes.length; }))
        .observe(document.querySelector(".dots-layer"), {childList: true});
}"""


class Console:
    """One tab with the console. Errors on any screen are recorded in `faults`."""

    def __init__(self, page: Page, shop: StackClient) -> None:
        self.page = page
        self.shop = shop
        self.address = shop.outputs["apiUrl"] + "/console"
        self.faults: list[str] = []
        """Errors of the page, violations of its content security policy, dialogs, requests to other hosts."""
        self.requests: list[str] = []
        """Method and path of each request to the API."""
        self.refused: list[str] = []
        """Requests that got an error response."""
        page.on("console", self._on_message)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", self._on_dialog)
        page.on("request", self._on_request)
        page.on("response", self._on_response)
        page.on("websocket", self._on_socket)

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not WORDS_OF_CHROMIUM.match(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.address).netloc:
            self.faults.append(f"request to {request.url}")
        self.requests.append(f"{request.method} {parts.path}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append(f"{response.request.method} {response.url} {response.status}")

    def _on_socket(self, socket: WebSocket) -> None:
        if urlsplit(socket.url).netloc != urlsplit(self.address).netloc:
            self.faults.append(f"connection to {socket.url}")

    # ------------------------------------------------------------ getting there
    def enter(self) -> None:
        """Open the address that `make run` prints, which signs the operator in."""
        self.page.goto(self.shop.outputs["consoleUrl"])
        expect(self.heading("Pipeline")).to_be_visible()

    def sign_in(self, customer: str) -> None:
        """Sign a customer in by the user pool's own page."""
        self.shop.tokens.of_customer(customer)  # creates the user
        self.page.goto(self.address)
        self.button("Sign in").click()
        self.page.locator("input[name=username]").fill(customer)
        self.page.locator("input[name=password]").fill(PASSWORD)
        self.page.locator("input[name=password]").press("Enter")
        expect(self.heading("Your orders, live")).to_be_visible()

    def open(self, *path: str, **query: str) -> None:
        """Go to a screen by its address, as a link does."""
        self.page.goto(self.address_of(*path, **query))

    def address_of(self, *path: str, **query: str) -> str:
        """A screen's address."""
        parts = "/".join(quote(part, safe="") for part in path)
        return f"{self.address}#/{parts}{'?' + urlencode(query) if query else ''}"

    def expect_live(self) -> None:
        """Wait until the WebSocket connection delivers events."""
        expect(self.page.locator("header").get_by_role("status")).to_have_text("live")

    # ------------------------------------------------------------ content
    def heading(self, name: str | re.Pattern[str]) -> Locator:
        """A heading, by its whole text or by a pattern."""
        return self.page.get_by_role("heading", name=name, exact=True)

    def button(self, name: str | re.Pattern[str]) -> Locator:
        """A button, by its whole name or by a pattern."""
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str | re.Pattern[str]) -> Locator:
        """A link, by its whole text or by a pattern."""
        return self.page.get_by_role("link", name=name, exact=True)

    def region(self, name: str | re.Pattern[str]) -> Locator:
        """A named part of a screen."""
        return self.page.get_by_role("region", name=name, exact=True)

    def dialog(self, name: str | re.Pattern[str]) -> Locator:
        """The dialog with this title."""
        return self.page.get_by_role("dialog", name=name, exact=True)

    def rows(self, table: str) -> Locator:
        """The rows of a table, without its head."""
        return self.page.get_by_role("group", name=table, exact=True).locator("tbody tr")

    def main(self) -> Locator:
        """The main part, without frame and navigation."""
        return self.page.get_by_role("main")

    def tile(self, name: str) -> int:
        """The figure above a label on the pipeline."""
        text = self.page.locator(".tiles").get_by_role("link", name=name).inner_text()
        return int(text.split()[0].replace(",", ""))

    def watch_the_map(self) -> None:
        """Start counting the dots that appear on the map."""
        self.page.evaluate(_COUNT_DOTS)

    def dots(self) -> int:
        """The dots, one per order, that have appeared since."""
        return int(self.page.evaluate("window.dots"))

    def has_executed(self) -> bool:
        """Whether an attacker's script ran: each attack sets this variable."""
        return bool(self.page.evaluate("window.attacked !== undefined"))

    def scrolls_sideways(self) -> bool:
        """Whether the screen is wider than the window."""
        return bool(
            self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        )


@contextmanager
def opened(browser: Browser, shop: StackClient, **options: Any) -> Iterator[Console]:
    """An empty tab, isolated from all others."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(TIMEOUT * 1000)
    console = Console(context.new_page(), shop)
    try:
        yield console
    finally:
        context.close()


@dataclass(frozen=True)
class Screen:
    """A screen's address, and the text that shows that it is complete."""

    path: tuple[str, ...]
    words: str
    query: Mapping[str, str] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Open it, and wait until it is complete."""
        console.open(*self.path, **self.query)
        expect(console.main()).to_contain_text(self.words)
        expect(console.main().locator(".loading")).to_have_count(0)


def screens(scene: Mapping[str, str]) -> dict[str, Screen]:
    """Every screen of an operator, by name; `scene` has the ids for the detail screens."""
    customer, product, order = (scene[name] for name in ("customer", "product", "order"))
    return {
        "pipeline": Screen((), "in flight"),
        "orders": Screen(("orders",), order[:8], {"customerId": customer}),
        "order": Screen(("orders", order), f"of {customer} reserved for this order"),
        "stock": Screen(("stock",), "to sell"),
        "product": Screen(("stock", product), "Settled"),
        "accounts": Screen(("accounts",), "to spend"),
        "account": Screen(("accounts", customer), "Settled"),
        "dead-letters": Screen(("dead-letters", "order_update"), "Open orders"),
        "reports": Screen(("reports",), product),
        "webhooks": Screen(("webhooks",), "given up", {"customerId": customer}),
        "webhook": Screen(("webhooks", scene["webhook"]), "order.shipped"),
        "nowhere": Screen(("no-such-screen",), "There is no such page"),
    }
