"""Who can sign in to the console, and what they can access."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.console import Console, opened
from tests.deployed.shop import StackClient, body_of


@pytest.fixture
def tab(browser: Browser, shop: StackClient) -> Iterator[Console]:
    """A tab of a user who is not signed in."""
    with opened(browser, shop) as console:
        yield console
        assert console.faults == []


def calls_of(console: Console) -> list[str]:
    """The requests to the API itself."""
    return [each for each in console.requests if "/v1/" in each and "/v1/console" not in each]


def test_a_key_that_is_not_the_engines_signs_nobody_in(tab: Console) -> None:
    tab.page.goto(f"{tab.address}#key={'0' * 64}")

    expect(tab.page.get_by_role("status")).to_contain_text("belongs to an earlier engine")
    expect(tab.button("Sign in")).to_be_visible()
    expect(tab.heading("Pipeline")).to_be_hidden()
    assert calls_of(tab) == []
    assert "key=" not in tab.page.url


def test_a_session_that_somebody_made_up_is_refused(tab: Console, shop: StackClient) -> None:
    # given: a customer's token that makes an operator of her
    header, claims, signature = shop.bearer(shop.new_customer()).removeprefix("Bearer ").split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    promoted = json.dumps(decoded | {"cognito:groups": ["operators"]}).encode()
    forged = f"{header}.{base64.urlsafe_b64encode(promoted).rstrip(b'=').decode()}.{signature}"
    tab.page.route(
        "**/_console/session",
        lambda route: route.fulfill(json={"access_token": forged, "expires_in": 3600}),
    )
    # when
    tab.page.goto(shop.outputs["consoleUrl"])
    # then
    expect(tab.button("Sign in")).to_be_visible()
    expect(tab.main()).to_contain_text("Your sign-in has ended.")
    expect(tab.heading("Pipeline")).to_be_hidden()
    assert [each for each in tab.refused if "/v1/operations/queues 401" in each], tab.refused


@pytest.mark.full
def test_without_a_key_the_pools_sign_in_is_offered(tab: Console) -> None:
    # given
    tab.page.goto(tab.address)
    expect(tab.main()).to_contain_text("make run")
    assert calls_of(tab) == []
    # when
    tab.button("Sign in").click()
    # then
    expect(tab.page.locator("input[name=password]")).to_be_visible()
    query = urlsplit(tab.page.url).query
    assert urlsplit(tab.page.url).netloc == urlsplit(tab.address).netloc
    assert "code_challenge_method=S256" in query
    assert "client_secret" not in query


@pytest.mark.full
def test_the_key_stays_neither_in_the_address_nor_in_the_history(tab: Console, shop: StackClient) -> None:
    tab.enter()

    key = urlsplit(shop.outputs["consoleUrl"]).fragment.removeprefix("key=")
    assert key not in tab.page.url
    assert tab.page.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert key not in tab.page.evaluate("JSON.stringify(localStorage)")
    tab.page.reload()  # this tab remembers it
    expect(tab.heading("Pipeline")).to_be_visible()
    tab.button("Sign out").click()
    expect(tab.page.get_by_role("status")).to_contain_text("You have signed out.")
    tab.page.reload()
    expect(tab.button("Sign in")).to_be_visible()


@pytest.mark.full
def test_tokens_are_kept_in_memory_only(tab: Console) -> None:
    with tab.page.expect_response("**/_console/session") as answer:
        tab.enter()

    token = answer.value.json()["access_token"]
    kept = tab.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert token not in kept


@pytest.mark.full
def test_a_customer_sees_their_own_orders_and_nothing_of_others(tab: Console, shop: StackClient) -> None:
    # given
    alice, bob, pen = shop.new_customer("50.00"), shop.new_customer(), shop.new_product()
    own = shop.ended(shop.place(alice, {pen: 1}, "2.00"))
    foreign = shop.ended(shop.place(bob, {pen: 1}, "2.00"))
    # when
    tab.sign_in(alice)
    # then
    navigation = tab.page.get_by_role("navigation", name="Screens").get_by_role("link")
    expect(navigation).to_have_text(["Pipeline", "Orders", "Webhooks"])
    expect(tab.button("Place a demo order")).to_be_hidden()
    assert "code=" not in tab.page.url
    # and: their own orders
    tab.link("Orders").click()
    expect(tab.heading("Your orders")).to_be_visible()
    expect(tab.rows("Orders")).to_have_count(1)
    expect(tab.rows("Orders").locator("a.id")).to_have_attribute("title", own["orderId"])
    tab.open("orders", foreign["orderId"])
    expect(tab.main().get_by_role("alert")).to_contain_text("Not found")
    # and: the operators' screens are refused, with the reason
    for path in ("stock", "accounts", "dead-letters", "reports"):
        tab.open(path)
        expect(tab.heading(re.compile("are for operators$"))).to_be_visible()
        expect(tab.main()).to_contain_text("You are signed in as a customer")
    asked = [each for each in calls_of(tab) if re.search("/v1/(stock|account|operations|reports)", each)]
    assert asked == []


@pytest.mark.full
def test_a_customer_watches_their_orders_live_and_places_one(tab: Console, shop: StackClient) -> None:
    # given
    alice, bob, pen = shop.new_customer("50.00"), shop.new_customer(), shop.new_product()
    tab.sign_in(alice)
    tab.expect_live()
    # when
    shop.ended(shop.place(bob, {pen: 1}, "2.00"))
    tab.button("New order…").click()
    form = tab.dialog("New order")
    expect(form.get_by_label("Customer")).to_be_hidden()
    form.get_by_label("Product").fill(pen)
    form.get_by_label("Amount").fill("3.00")
    form.get_by_role("button", name="Place the order").click()
    # then
    expect(tab.region("Summary")).to_contain_text("Shipped")
    tab.link("Pipeline").click()
    feed = tab.region("What happens")
    expect(feed).to_contain_text(alice)
    expect(feed).not_to_contain_text(bob)


@pytest.mark.full
def test_a_customer_registers_a_webhook_of_their_own(tab: Console, shop: StackClient) -> None:
    alice = shop.new_customer()
    tab.sign_in(alice)
    tab.link("Webhooks").click()
    expect(tab.heading("Your webhooks")).to_be_visible()
    tab.button("New webhook…").click()
    form = tab.dialog(f"New webhook of {alice}")
    form.get_by_label("Address").fill("https://shop.example.com/hooks")
    form.get_by_role("button", name="Register").click()
    tab.button("I have it").click()

    expect(tab.link("https://shop.example.com/hooks")).to_be_visible()
    assert len(body_of(shop.get(f"/webhooks?customerId={alice}"))["webhooks"]) == 1


@pytest.mark.full
def test_signing_out_ends_the_pools_session_too(tab: Console, shop: StackClient) -> None:
    tab.sign_in(shop.new_customer())

    with tab.page.expect_request("**/logout?**"):
        tab.button("Sign out").click()

    expect(tab.button("Sign in")).to_be_visible()
    assert tab.page.evaluate("sessionStorage.length") == 0


@pytest.mark.full
@pytest.mark.parametrize(
    "answer",
    ["code=nonsense&state=nonsense", "error=access_denied&error_description=<img src=x onerror=attacked=1>"],
)
def test_an_answer_that_was_not_asked_for_signs_nobody_in(tab: Console, answer: str) -> None:
    tab.page.goto(f"{tab.address}?{answer}")

    expect(tab.button("Sign in")).to_be_visible()
    assert not tab.has_executed()
    assert [each for each in tab.requests if "/oauth2/token" in each] == []
    assert urlsplit(tab.page.url).query == ""


@pytest.mark.full
def test_a_token_that_is_not_accepted_any_more_is_renewed(tab: Console) -> None:
    # given
    tab.enter()
    spoilt: list[str] = []

    def spoil(route: Route) -> None:
        """Send one request with an invalid token."""
        if spoilt:
            route.continue_()
            return
        spoilt.append(route.request.url)
        route.continue_(headers={**route.request.headers, "authorization": "Bearer expired"})

    tab.page.route("**/v1/reports/daily?**", spoil)
    # when
    with tab.page.expect_request("**/_console/session"):
        tab.link("Reports").click()
    # then
    expect(tab.region("By day").or_(tab.main().get_by_text("Nothing happened"))).to_be_visible()
    assert len([each for each in tab.refused if each.endswith(" 401")]) == 1
    assert spoilt


@pytest.mark.full
def test_whoever_can_not_be_renewed_is_asked_to_sign_in_again(tab: Console) -> None:
    # given: the engine has a new key
    tab.enter()
    tab.page.evaluate("sessionStorage.setItem('console.key', '0'.repeat(64))")
    tab.page.route(
        "**/v1/reports/daily?**",
        lambda route: route.continue_(headers={**route.request.headers, "authorization": "Bearer expired"}),
    )
    # when
    tab.link("Reports").click()
    # then
    expect(tab.button("Sign in")).to_be_visible()
    expect(tab.main()).to_contain_text(re.compile("sign-in has ended|not that of the engine"))
