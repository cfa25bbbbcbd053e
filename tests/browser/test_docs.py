"""The documentation in a browser: its pages, its search, and its page of the API, which sends requests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, Locator, Page, expect

from local import docs, docs_api, docs_site
from local.engine import ROOT
from tests.browser.console import WORDS_OF_CHROMIUM
from tests.deployed.shop import TIMEOUT, StackClient
from tests.support.target import needs_own_engine

pytestmark = needs_own_engine("the engine serves the documentation")

OPERATIONS = [
    (method, path, operation)
    for path, item in docs_api.contract()["paths"].items()
    for method, operation in item.items()
]
SCREENS: list[dict[str, Any]] = [
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
]


@pytest.fixture(scope="module", autouse=True)
def site() -> None:
    """The documentation as `make docs` builds it. Broken links and missing headings fail it."""
    docs.write()


@dataclass
class Tab:
    """A tab that records faults."""

    page: Page
    faults: list[str] = field(default_factory=list)
    """Errors, violations of a content security policy, requests to other hosts, and missing files."""

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", lambda message: self._on_message(message.type, message.text))
        self.page.on("request", lambda request: self._on_request(request.url))
        self.page.on("response", lambda response: self._on_response(response.url, response.status))

    def _on_message(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not WORDS_OF_CHROMIUM.match(text):
            self.faults.append(text)

    def _on_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "file") and not parts.netloc.startswith("127.0.0.1:"):
            self.faults.append(f"request to {url}")

    def _on_response(self, url: str, status: int) -> None:
        if status >= 400 and "/_docs/" in url:
            self.faults.append(f"{url}: {status}")

    def scrolls_sideways(self) -> bool:
        return bool(
            self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        )


@contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[Tab]:
    context = browser.new_context(**SCREENS[0] | options)
    context.set_default_timeout(TIMEOUT * 1000)
    try:
        tab = Tab(context.new_page())
        yield tab
        assert tab.faults == []
    finally:
        context.close()


class ApiPage:
    """The API's page, used by visible text and controls."""

    def __init__(self, tab: Tab, address: str) -> None:
        self.tab, self.page = tab, tab.page
        self.page.goto(address)
        expect(self.page.get_by_role("heading", name="Order capture")).to_be_visible()

    def operation(self, method: str, path: str, tag: str) -> Locator:
        """The part of an operation, once it is drawn."""
        name = f"{method.upper()}{path}"
        self.page.evaluate("to => { location.hash = to; }", f"tag/{tag}/{name}")
        found = self.page.locator(f'section[id$="/{name}"]')
        expect(self.sample_in(found)).to_be_visible()
        return found

    def sample_in(self, part: Locator) -> Locator:
        return part.locator('[aria-label^="Code sample: "]')

    def samples(self, part: Locator) -> dict[str, str]:
        """The samples of an operation, by language."""
        found = {}
        for language in ("curl", "Python"):
            part.get_by_role("button", name="Change code sample language").click()
            self.page.get_by_role("option", name=language, exact=True).click()
            expect(self.sample_in(part)).to_have_attribute("aria-label", f"Code sample: {language}")
            found[language] = self.sample_in(part).inner_text()
        return found


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    with opened(browser) as tab:
        yield tab


@pytest.fixture
def api(tab: Tab, shop: StackClient) -> ApiPage:
    """The API's page, signed in."""
    return ApiPage(tab, shop.outputs["apiDocsUrl"])


def environment(shop: StackClient) -> dict[str, str]:
    """The environment of the shell in which samples are pasted."""
    return {
        **os.environ,
        "TOKEN": f"Authorization: Bearer {shop.tokens.of_service()}",
        "NO_PROXY": "127.0.0.1",
    }


def run(language: str, sample: str, shop: StackClient) -> str:
    """The output of a sample in a shell, or in Python."""
    command = ["bash", "-c", sample] if language == "curl" else [sys.executable, "-c", sample]
    done = subprocess.run(
        command, env=environment(shop), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


# ---------------------------------------------------------------- the API's page
@pytest.mark.timeout(300)
def test_no_operation_has_an_empty_panel_and_each_has_its_samples(api: ApiPage, shop: StackClient) -> None:
    for method, path, operation in OPERATIONS:
        part = api.operation(method, path, operation["tags"][0])
        expect(part.get_by_role("heading", name=operation["summary"])).to_be_visible()
        samples = api.samples(part)
        address = shop.outputs["apiUrl"]
        assert f'curl "{address}/' in samples["curl"]
        assert f'requests.{method}(\n    "{address}/' in samples["Python"]
        for panel in part.locator(".scalar-card").all():
            assert len(panel.inner_text().strip()) > 20, (method, path)
        assert part.locator(".response-card").count() == 1
        words = part.inner_text()
        assert not re.search(r"\bundefined\b|\[object Object\]|Pattern|\^\[", words), (method, path)
        # One line for all errors, and not a panel for each.
        listed = part.get_by_label("Responses", exact=True).get_by_role("listitem").all_inner_texts()
        assert [each.split()[0] for each in listed] == [*operation["responses"]], (method, path)


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_samples_can_be_pasted(api: ApiPage, shop: StackClient, language: str) -> None:
    def sample(method: str, path: str, tag: str) -> str:
        return api.samples(api.operation(method, path, tag))[language]

    assert '"espresso-beans"' in run(language, sample("post", "/stock", "stock"), shop)
    assert '"alice"' in run(language, sample("post", "/account", "accounts"), shop)
    placed = run(language, sample("post", "/order", "orders"), shop)
    assert '"PENDING"' in placed
    (order_id,) = re.findall(r'"orderId":"([0-9a-f-]+)"', placed)
    shop.ended(order_id)
    assert order_id in run(
        language, sample("get", "/orders", "orders").replace("/orders", "/orders?customerId=alice"), shop
    )
    assert '"entries"' in run(language, sample("get", "/account/{customerId}/history", "accounts"), shop)
    assert '"queues"' in run(language, sample("get", "/operations/queues", "operations"), shop)


def test_a_real_order_is_sent_from_the_page(api: ApiPage, shop: StackClient) -> None:
    part = api.operation("post", "/order", "orders")
    # when
    part.get_by_role("button", name="Test Request").click()
    client = api.page.get_by_role("dialog")
    with api.page.expect_response(lambda answer: answer.url == f"{shop.outputs['apiUrl']}/order") as answered:
        client.get_by_role("button", name=re.compile("^Send")).first.click()
    # then
    assert answered.value.status == 202
    order_id = answered.value.json()["orderId"]
    expect(client).to_contain_text("202 Accepted")
    expect(client).to_contain_text(order_id)
    assert shop.ended(order_id)["customerId"] == "alice"


def test_a_token_that_has_run_out_is_replaced(api: ApiPage, shop: StackClient) -> None:
    """A token is valid for a quarter of an hour; users read longer."""
    refused: list[int] = []

    def refuse_once(route: Any) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(401)
            route.fulfill(status=401, content_type="application/problem+json", body="{}")

    api.page.route("**/v1/order", refuse_once)
    part = api.operation("post", "/order", "orders")
    part.get_by_role("button", name="Test Request").click()
    api.page.get_by_role("dialog").get_by_role("button", name=re.compile("^Send")).first.click()
    expect(api.page.get_by_role("dialog")).to_contain_text("202 Accepted")
    assert refused == [401]


def test_the_key_does_not_stay_in_the_address(api: ApiPage) -> None:
    assert "key=" not in api.page.url
    api.page.reload()
    expect(api.page.get_by_text("Bearer Token:")).to_be_visible()
    expect(api.page.locator("#hint")).to_be_empty()


@pytest.mark.parametrize("fragment", ["", "#key=of-somebody-else"])
def test_without_the_key_it_says_how_to_sign_in(browser: Browser, shop: StackClient, fragment: str) -> None:
    with opened(browser) as tab:
        api = ApiPage(tab, f"{shop.outputs['docsUrl']}api.html{fragment}")
        expect(api.page.locator("#hint")).to_contain_text("make run")
        expect(api.page.locator("#hint")).to_contain_text("make -s token")
        assert shop.outputs["apiUrl"] in api.sample_in(api.operation("get", "/orders", "orders")).inner_text()


def test_as_a_file_it_says_how_to_get_a_stack_and_has_no_button_that_fails(browser: Browser) -> None:
    with opened(browser) as tab:
        api = ApiPage(tab, (docs_site.SITE / docs_site.API_PAGE).as_uri())
        expect(api.page.locator("#hint")).to_contain_text("make run")
        part = api.operation("post", "/order", "orders")
        assert part.get_by_role("button", name="Test Request").count() == 0


@pytest.mark.parametrize("screen", SCREENS, ids=["light", "dark", "phone"])
def test_it_is_read_on_any_screen(browser: Browser, shop: StackClient, screen: dict[str, Any]) -> None:
    with opened(browser, **screen) as tab:
        api = ApiPage(tab, shop.outputs["apiDocsUrl"])
        api.operation("post", "/order", "orders")
        assert not tab.scrolls_sideways()
        dark = api.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 100")
        assert dark == (screen["color_scheme"] == "dark")


def test_a_policy_lets_it_ask_its_own_server_only(api: ApiPage) -> None:
    text = (docs_site.SITE / docs_site.API_PAGE).read_text(encoding="utf-8")
    (policy,) = re.findall(r'"Content-Security-Policy" content="([^"]+)"', text)
    sources = dict(directive.split(maxsplit=1) for directive in policy.split("; "))
    assert sources["default-src"] == "'none'"
    assert sources["connect-src"] == "'self'"
    assert re.fullmatch(r"('sha256-[^']+' ?)+", sources["script-src"])
    assert (
        api.page.evaluate("fetch('https://elsewhere.example').catch(error => error.message)")
        == "Failed to fetch"
    )
    stopped = [each for each in api.tab.faults if "Content Security Policy" in each]
    assert stopped
    api.tab.faults.clear()  # which shows that violations would be noticed


# ---------------------------------------------------------------- the site
@pytest.mark.parametrize("served", [True, False], ids=["served", "as files"])
def test_its_search_finds_pages(browser: Browser, shop: StackClient, served: bool) -> None:
    with opened(browser) as tab:
        tab.page.goto(shop.outputs["docsUrl"] if served else (docs_site.SITE / "index.html").as_uri())
        tab.page.get_by_role("textbox", name="Search").click()
        tab.page.keyboard.type("redrive dead letters")
        result = tab.page.locator(".md-search-result__link").first
        expect(result).to_be_visible()
        result.click()
        expect(tab.page.locator("article")).to_contain_text("dead letter")


def test_the_engines_front_page_leads_to_it(tab: Tab, shop: StackClient) -> None:
    tab.page.goto(shop.outputs["endpointUrl"])
    tab.page.get_by_role("link", name="documentation").click()
    expect(tab.page.get_by_role("heading", name="Order capture", level=1)).to_be_visible()
    # Kinds of pages are the tabs above.
    tab.page.get_by_role("link", name="Reference", exact=True).first.click()
    tab.page.get_by_role("link", name="Open the API's page").click()
    expect(tab.page.get_by_role("heading", name="Order capture")).to_be_visible()


@pytest.mark.parametrize("screen", SCREENS, ids=["light", "dark", "phone"])
def test_diagrams_are_drawn(browser: Browser, shop: StackClient, screen: dict[str, Any]) -> None:
    with opened(browser, **screen) as tab:
        for name in ("docs/explanation/protocol.html", "docs/reference/http.html"):
            tab.page.goto(shop.outputs["docsUrl"] + name)
            # The theme draws them in a closed shadow root: an element with a size, and no source any more.
            expect(tab.page.locator("div.mermaid").first).to_be_visible()
            assert tab.page.locator("pre.mermaid").count() == 0
            box = tab.page.locator("div.mermaid").first.bounding_box()
            assert box is not None
            assert box["height"] > 50
            assert not tab.scrolls_sideways()


def test_pages_are_what_they_are_on_github() -> None:
    """As many list items, rows, headings and blocks of code: the site's Markdown is another dialect."""
    github = MarkdownIt("commonmark").enable("table")
    differing = []
    for page in docs_site.pages():
        built = docs_site.SITE / page.relative_to(ROOT).with_suffix(".html")
        if page.name == "README.md":
            built = built.with_name("index.html")
        _, _, article = built.read_text(encoding="utf-8").partition("<article")
        texts = github.render(page.read_text(encoding="utf-8")), article.partition("</article")[0]
        for tag in ("li", "tr", "td", "h2", "h3", "pre", "strong"):
            numbers = [len(re.findall(rf"<{tag}[ >]", text)) for text in texts]
            if numbers[0] != numbers[1]:
                differing.append(f"{page.relative_to(ROOT)}: {tag} {numbers}")
    assert differing == []


def test_no_page_loads_anything_from_another_host() -> None:
    loading = re.compile(
        r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?(?:https?:)?//|<link\b(?![^>]*rel="?canonical)[^>]*href="?https?://'
    )
    pages = [path for path in docs_site.SITE.rglob("*.html") if path.name != docs_site.API_PAGE]
    assert len(pages) > 200
    assert [path for path in pages if loading.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "link", ["docs/how-to/no-such-page.md", "docs/how-to/deploy.md#no-such-heading", "no-such-file.py"]
)
def test_a_link_that_leads_nowhere_fails_the_build(monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    whole = docs_site.stage

    def stage() -> None:
        whole()
        with (docs_site.SOURCE / "SECURITY.md").open("a", encoding="utf-8") as page:
            page.write(f"\n[there]({link})\n")

    monkeypatch.setattr(docs_site, "stage", stage)
    to = docs_site.SITE.with_name("docs-broken")
    shutil.rmtree(to, ignore_errors=True)  # of a run that failed
    with pytest.raises(docs_site.DocsError, match=re.escape(link.rpartition("#")[2])):
        docs_site.build("", to)
    assert not to.exists()
