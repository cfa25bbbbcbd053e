"""The console shows what others wrote only as text, and loads nothing from another host."""

from __future__ import annotations

import gzip
import json
import re
import uuid

import httpx
import pytest
from playwright.sync_api import expect

from local.engine import ROOT
from tests.browser.console import Console, screens
from tests.deployed.shop import StackClient, body_of

MARKUP = """"'><img src=x onerror="attacked=1"><script>attacked=1</script><svg onload=attacked=1>"""
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
MOST_BYTES = 150_000


def test_the_page_is_small(shop: StackClient) -> None:
    files = ROOT / "functions/console/files"  # built before the stack was deployed
    sizes = {path.name: len(gzip.compress(path.read_bytes(), mtime=0)) for path in files.iterdir()}

    assert any(name.endswith(".js") for name in sizes)
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_the_page_and_its_files_have_a_strict_policy(shop: StackClient) -> None:
    page = httpx.get(shop.outputs["apiUrl"] + "/console", trust_env=False)
    names = re.findall(r'"console/([^"]+)"', page.text)
    assert any(name.endswith(".js") for name in names)
    for name in ("", *(f"/{name}" for name in names), "/config.json"):
        headers = httpx.get(f"{shop.outputs['apiUrl']}/console{name}", trust_env=False).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy | POLICY == policy, name
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.full
def test_the_policy_stops_what_is_put_into_the_page_nevertheless(console: Console) -> None:
    # given: a simulated vulnerability
    console.page.evaluate(
        """html => {
            document.body.insertAdjacentHTML("beforeend", html);
            const script = document.createElement("script");
            script.textContent = "attacked = 1";
            document.body.append(script);
            const image = new Image();
            image.src = "https://elsewhere.example/image";
            document.body.append(image);
        }""",
        MARKUP,
    )
    # then
    console.page.wait_for_function("performance.now() > 0")
    assert not console.has_executed()
    assert not [each for each in console.requests if "elsewhere" in each]
    stopped = [each for each in console.faults if "Content Security Policy" in each]
    assert len(stopped) >= 3
    console.faults.clear()  # which shows that violations would be noticed


@pytest.mark.full
def test_what_others_write_is_shown_as_text(console: Console, shop: StackClient) -> None:
    """Ids can't hold markup, by the contract: these can."""
    # given: a webhook's address, a correlation id, dead letters
    alice, pen = shop.new_customer(), shop.new_product()
    url = "https://shop.example.com/'onerror='attacked=1?&lt;img/src=x/onerror=attacked=1&gt;(javascript:attacked=1)"
    hook = body_of(shop.post("/webhooks", {"customerId": alice, "url": url}))
    order_id = shop.place(alice, {pen: 1}, "1.00", X_Correlation_Id=MARKUP)
    shop.ended(order_id)
    dlq = shop.outputs["OrderUpdateDlqUrl"]
    shop.sqs.purge_queue(QueueUrl=dlq)
    envelope = {
        "specversion": "1.0",
        "id": MARKUP,
        "source": MARKUP,
        "type": MARKUP,
        "subject": MARKUP,
        "data": {"orderId": MARKUP, "message": MARKUP},
    }
    bodies = [MARKUP, json.dumps({MARKUP: MARKUP}), json.dumps(envelope)]
    try:
        for body in bodies:
            shop.sqs.send_message(QueueUrl=dlq, MessageBody=body)
        # when, then
        console.open("orders", order_id)
        expect(console.region("Summary")).to_contain_text(MARKUP)
        console.open("webhooks", customerId=alice)
        expect(console.link(url)).to_be_visible()
        console.open("webhooks", hook["webhookId"])
        expect(console.heading(url)).to_be_visible()
        console.open("dead-letters", "order_update")
        letters = console.region("order_update").locator("li")
        expect(letters).to_have_count(3)
        for number in range(3):
            letters.nth(number).locator("summary").click()
            expect(letters.nth(number).locator("pre")).to_contain_text("onerror")
        assert MARKUP in letters.locator("pre").all_inner_texts()
    finally:
        shop.sqs.purge_queue(QueueUrl=dlq)
    assert not console.has_executed()
    assert console.page.locator("img, main script, [onerror]").count() == 0


@pytest.mark.full
@pytest.mark.parametrize(
    "path",
    [
        ("orders", MARKUP),
        ("stock", MARKUP),
        ("accounts", MARKUP),
        ("dead-letters", MARKUP),
        ("webhooks", MARKUP),
        (MARKUP,),
        ("..", "..", "console", "config.json"),
    ],
    ids=lambda path: path[0][:12],
)
def test_an_address_that_somebody_made_up_is_shown_as_text(console: Console, path: tuple[str, ...]) -> None:
    console.open(*path, prefix=MARKUP, customerId=MARKUP, status=MARKUP, reason=MARKUP, to=MARKUP)

    expect(console.main().get_by_role("heading").first).to_be_visible()
    expect(console.main().locator(".loading")).to_have_count(0)
    assert not console.has_executed()
    assert console.page.locator("main img, main script, [onerror]").count() == 0


@pytest.mark.full
def test_ids_of_every_allowed_character_lead_to_what_they_name(console: Console, shop: StackClient) -> None:
    rest = str(uuid.uuid4())
    for product in (
        f"...A_:@+~-.{rest[:52]}",
        f"@{rest}",
        f"~:+{rest}",
        "x" + rest.replace("-", "")[:31] * 2,
    ):
        assert shop.post("/stock", {"productId": product, "balance": 3}).status_code == 200
        console.open("stock", prefix=product)
        console.link(product).click()
        expect(console.heading(product)).to_be_visible()
        expect(console.region("How it stands")).to_contain_text("3 to sell")
        assert not console.scrolls_sideways()


@pytest.mark.full
def test_no_screen_asks_another_host_or_has_an_error(console: Console, scene: dict[str, str]) -> None:
    for screen in screens(scene).values():
        screen.show(console)

    assert console.refused == []
    assert console.faults == []
