"""A real browser, and pages of another site."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.browser.console import Console, opened
from tests.deployed.shop import TIMEOUT, StackClient, body_of
from tests.support.absent import absent

expect.set_options(timeout=TIMEOUT * 1000)


@pytest.fixture(
    scope="module"
)  # Playwright's event loop runs until it stops: no test after these could run another
def browser() -> Iterator[Browser]:
    path = chromium.program()
    if path is None:
        absent(chromium.MISSING)
    with chromium.launched(path) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def console(browser: Browser, shop: StackClient) -> Iterator[Console]:
    """The console, with the operator signed in, on the pipeline. No screen may have a fault."""
    with opened(browser, shop) as console:
        console.enter()
        yield console
        assert console.faults == []


@pytest.fixture(scope="module")
def scene(shop: StackClient) -> dict[str, str]:
    """The ids of what the detail screens show."""
    customer, product = shop.new_customer("40.00"), shop.new_product(3)
    url = "https://shop.example.com/hooks"
    webhook = body_of(shop.post("/webhooks", {"customerId": customer, "url": url}))["webhookId"]
    order = shop.place(customer, {product: 2}, "7.50")
    shop.all_ended([order, shop.place(customer, {product: 2}, "7.50")])
    shop.come_to_rest()
    return {"customer": customer, "product": product, "order": order, "webhook": webhook}


class Site:
    """Another site: one page, of another origin than the engine's."""

    def __init__(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.html.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.html = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()
