"""The console's accessibility: screen readers, keyboards, phones, and reduced motion."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.console import Console, opened, screens
from tests.deployed.shop import StackClient
from tests.support.node import module

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def dead_letters(shop: StackClient) -> Iterator[None]:
    """Content for screens that would be empty without it."""
    url = shop.outputs["OrderUpdateDlqUrl"]
    shop.sqs.purge_queue(QueueUrl=url)
    for body in ("nonsense", '{"type": "order.placed"}'):
        shop.sqs.send_message(QueueUrl=url, MessageBody=body)
    yield
    shop.sqs.purge_queue(QueueUrl=url)


def violations(page: Page) -> list[str]:
    """What axe finds. Its script is evaluated, which the page's content security policy does not block."""
    page.evaluate(module("axe-core/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("rules => axe.run({runOnly: rules})", RULES)["violations"]
    return [
        f"{each['id']}: {each['help']}: {node['html'][:120]} {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.timeout(300)  # the first test: its time includes starting an engine and deploying to it
@pytest.mark.usefixtures("dead_letters")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_screen_has_a_barrier(
    browser: Browser, shop: StackClient, scene: dict[str, str], scheme: str
) -> None:
    with opened(browser, shop, color_scheme=scheme, reduced_motion="reduce") as console:
        found = {}
        console.page.goto(console.address)
        expect(console.button("Sign in")).to_be_visible()
        found["sign-in"] = violations(console.page)
        console.enter()
        console.button("Place a demo order").click()
        expect(console.region("A demo order")).to_contain_text("1 shipped")
        for name, screen in screens(scene).items():
            screen.show(console)
            found[name] = violations(console.page)
        console.open("stock", scene["product"])
        console.button("Adjust…").click()
        found["dialog"] = violations(console.page)
        assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.full
def test_axe_finds_what_is_wrong(console: Console) -> None:
    console.page.evaluate("document.querySelector('main').append(document.createElement('input'))")

    assert any(each.startswith("label: ") for each in violations(console.page))


@pytest.mark.full
@pytest.mark.usefixtures("dead_letters")
@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_every_screen_without_scrolling_sideways(
    browser: Browser, shop: StackClient, scene: dict[str, str], width: int
) -> None:
    with opened(browser, shop, viewport={"width": width, "height": 800}, has_touch=True) as console:
        console.enter()
        wide = []
        for name, screen in screens(scene).items():
            screen.show(console)
            if console.scrolls_sideways():
                wide.append(name)
        assert wide == []
        # and: the menu leads to every screen
        console.button("Menu").click()
        menu = console.dialog("Menu")
        expect(menu.get_by_role("navigation").get_by_role("link")).to_have_count(6)
        menu.get_by_role("link", name="Dead letters").click()
        expect(menu).to_be_hidden()
        expect(console.heading("Dead letters")).to_be_visible()


@pytest.mark.full
def test_everything_is_reached_by_the_keyboard(console: Console) -> None:
    # given
    page = console.page
    page.reload()
    expect(console.heading("Pipeline")).to_be_visible()

    def tab_to(role: str, name: str) -> None:
        """Press Tab until the element has the focus, as users without a mouse do."""
        wanted = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        for _ in range(60):
            page.keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                outline = wanted.evaluate("element => getComputedStyle(element).outlineStyle")
                assert outline != "none", f"{name} does not show that it has the focus"
                return
        pytest.fail(f"{name} is not reached")

    # when, then: past the navigation at once
    page.keyboard.press("Tab")
    expect(console.link("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(console.main()).to_be_focused()
    # an order is placed
    tab_to("button", "Place a demo order")
    page.keyboard.press("Enter")
    expect(console.region("A demo order")).to_contain_text("1 shipped")
    # a dialog is opened, keeps the focus, and gives it back
    tab_to("button", "New order…")
    page.keyboard.press("Enter")
    dialog = console.dialog("New order")
    expect(dialog).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
        assert inside, "the focus has left the dialog"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(console.button("New order…")).to_be_focused()
    # another screen is opened, and reading begins at its heading
    page.reload()
    expect(console.heading("Pipeline")).to_be_visible()
    tab_to("link", "Reports")
    page.keyboard.press("Enter")
    expect(console.heading("Reports")).to_be_focused()
    assert page.title() == "Reports · Order capture"


@pytest.mark.full
def test_what_happens_is_announced(console: Console) -> None:
    console.button("Place a demo order").click()

    live = console.page.locator("p.sr[aria-live=polite]")
    expect(live).to_have_text("A demo order: 1 shipped")


@pytest.mark.full
def test_nothing_moves_for_who_wants_it_so(browser: Browser, shop: StackClient) -> None:
    with opened(browser, shop, reduced_motion="reduce") as console:
        console.enter()
        console.expect_live()
        console.watch_the_map()
        console.button("Place a demo order").click()
        expect(console.region("A demo order")).to_contain_text("1 shipped")

        assert console.dots() == 0
        running = "document.getAnimations().filter(each => each.playState === 'running').length"
        assert console.page.evaluate(running) == 0


@pytest.mark.full
def test_the_theme_is_chosen_and_kept(console: Console) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = console.page.evaluate(background)
    console.button("Theme: system. Change it.").click()
    console.button("Theme: light. Change it.").click()

    expect(console.button("Theme: dark. Change it.")).to_be_visible()
    assert console.page.evaluate(background) != light
    console.page.reload()
    expect(console.button("Theme: dark. Change it.")).to_be_visible()
