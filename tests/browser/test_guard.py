"""A page of another site can't change anything in the engine, shown in a real browser.

Each attack is also run on an engine without its guard, where it must succeed: otherwise it proves nothing.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import httpx
import pytest
from playwright.sync_api import Page, Response

from local import stack
from local.engine import Engine, fresh
from tests.browser.chromium import REBOUND
from tests.browser.conftest import Site
from tests.deployed.shop import StackClient, body_of

TEMPLATE = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "stolen-stack"}}}}


def fields(pairs: list[tuple[str, str]]) -> str:
    return "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in pairs
    )


def script(text: str) -> str:
    return f"<!DOCTYPE html><script>{text}</script>"


def form(url: str, pairs: list[tuple[str, str]], **attributes: str) -> str:
    written = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return (
        f'<!DOCTYPE html><form action="{html.escape(url)}" {written}>{fields(pairs)}</form>'
        "<script>document.forms[0].submit()</script>"
    )


@dataclass(frozen=True)
class Target:
    """An engine as an attacker knows it: by its address, and by publicly known credentials."""

    engine: Engine
    aws: boto3.Session

    def presigned(self, key: str = "test", secret: str = "test") -> str:
        """An address that creates a stack when it is opened."""
        client = boto3.Session(key, secret, region_name="us-east-1").client(
            "cloudformation", endpoint_url=self.engine.url
        )
        return str(
            client.generate_presigned_url(
                "create_stack",
                Params={"StackName": "stolen", "TemplateBody": json.dumps(TEMPLATE)},
                HttpMethod="GET",
            )
        )

    def client(self, service: Any) -> Any:
        return self.aws.client(service, endpoint_url=self.engine.url)

    def state(self) -> dict[str, list[str]]:
        """What an attack would have changed."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        return {
            "stacks": sorted(each["StackName"] for each in stacks),
            "topics": sorted(each["TopicArn"] for each in self.client("sns").list_topics()["Topics"]),
            "tables": sorted(self.client("dynamodb").list_tables()["TableNames"]),
        }


def _json(value: str) -> str:
    return json.dumps(value).replace("</", "<\\/")


ATTACKS: dict[str, Callable[[Target], str]] = {
    "a link to a presigned address": lambda target: script(f"location.href = {_json(target.presigned())}"),
    "a link to one that our own key has signed": lambda target: script(
        "location.href = "
        + _json(target.presigned(target.engine.access_key_id, target.engine.secret_access_key))
    ),
    "a form that is sent by GET": lambda target: form(
        target.engine.url, parse_qsl(urlsplit(target.presigned()).query), method="GET"
    ),
    "a form that is sent by POST": lambda target: form(target.presigned(), [("x", "y")], method="POST"),
    "a form of plain text": lambda target: form(
        target.presigned(), [("x", "y")], method="POST", enctype="text/plain"
    ),
    "an image": lambda target: f'<!DOCTYPE html><img src="{html.escape(target.presigned())}">',
    "a script": lambda target: f'<!DOCTYPE html><script src="{html.escape(target.presigned())}"></script>',
    "a frame": lambda target: f'<!DOCTYPE html><iframe src="{html.escape(target.presigned())}"></iframe>',
    "a request without CORS": lambda target: script(
        f"fetch({_json(target.presigned())}, {{method: 'POST', mode: 'no-cors', body: 'x=y'}})"
    ),
    "a request with CORS": lambda target: script(
        f"fetch({_json(target.engine.url)}, {{method: 'POST', body: JSON.stringify({{TableName: 'stolen', "
        "KeySchema: [{AttributeName: 'k', KeyType: 'HASH'}], BillingMode: 'PAY_PER_REQUEST', "
        "AttributeDefinitions: [{AttributeName: 'k', AttributeType: 'S'}]}), "
        "headers: {'X-Amz-Target': 'DynamoDB_20120810.CreateTable', "
        "'Content-Type': 'application/x-amz-json-1.0', "
        "'Authorization': 'AWS4-HMAC-SHA256 Credential=test/20261128/us-east-1/dynamodb/aws4_request, "
        "SignedHeaders=host, Signature=0'}})"
    ),
    "a request to the engine's controls": lambda target: script(
        f"fetch({_json(target.engine.url + '/_ministack/reset')}, {{method: 'POST', mode: 'no-cors'}})"
    ),
    "a beacon to the engine's controls": lambda target: script(
        f"navigator.sendBeacon({_json(target.engine.url + '/_ministack/reset')})"
    ),
}


def attack(page: Page, site: Site, target: Target, name: str) -> list[int]:
    """Open the page, wait until the engine responded or the browser gave up; returns the response."""
    site.html = ATTACKS[name](target)
    ended: list[str] = []
    statuses: list[int] = []

    def answered(response: Response) -> None:
        if response.url.startswith(target.engine.url):
            statuses.append(response.status)

    page.on("response", answered)
    page.on("requestfinished", lambda request: ended.append(request.url))
    page.on("requestfailed", lambda request: ended.append(request.url))
    page.goto(site.url, wait_until="commit")
    deadline = time.monotonic() + 20
    while not any(url.startswith(target.engine.url) for url in ended) and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert any(url.startswith(target.engine.url) for url in ended), "the browser has not even tried"
    return statuses


@pytest.fixture(scope="module")
def target(engine: Engine, shop: StackClient) -> Target:
    return Target(engine, shop.aws)


@pytest.fixture(scope="module")
def without_guard() -> Iterator[Target]:
    with fresh(guarded=False) as engine:
        yield Target(engine, stack.session(engine))


@pytest.fixture
def unguarded(without_guard: Target) -> Target:
    httpx.post(f"{without_guard.engine.url}/_ministack/reset", trust_env=False)
    without_guard.client("sns").create_topic(Name="ours")
    return without_guard


@pytest.mark.parametrize("name", ATTACKS)
def test_a_page_of_another_site_changes_nothing(
    page: Page, site: Site, target: Target, shop: StackClient, name: str
) -> None:
    # given
    alice, pen = shop.new_customer("10.00"), shop.new_product(5)
    order = shop.ended(shop.place(alice, {pen: 1}, "1.00"))
    before = target.state()
    # when
    statuses = attack(page, site, target, name)
    # then
    assert all(status in (403, 405) for status in statuses) or statuses == [200], statuses
    assert target.state() == before
    assert body_of(shop.get(f"/order/{order['orderId']}")) == order


@pytest.mark.parametrize("name", [name for name in ATTACKS if "our own key" not in name])
def test_without_the_guard_the_attack_succeeds(page: Page, site: Site, unguarded: Target, name: str) -> None:
    before = unguarded.state()
    attack(page, site, unguarded, name)
    deadline = time.monotonic() + 10
    while unguarded.state() == before and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert unguarded.state() != before


RESET = "fetch('/_ministack/reset', {method: 'POST'}).then(answer => answer.status)"


def test_a_rebound_host_name_is_rejected(page: Page, target: Target) -> None:
    # given
    before = target.state()
    # when: the attacker's page and the engine are one origin now
    first = page.goto(f"http://{REBOUND}:{target.engine.port}/")
    status = page.evaluate(RESET)
    # then
    assert first is not None
    assert (first.status, status) == (421, 421)
    assert target.state() == before


def test_without_the_guard_the_request_is_accepted(page: Page, unguarded: Target) -> None:
    page.goto(f"http://{REBOUND}:{unguarded.engine.port}/")
    assert page.evaluate(RESET) == 200
    assert unguarded.state()["topics"] == []


@pytest.mark.parametrize("path", ["/", "/_docs", "/_docs/api.html", "/bucket", "/v1"])
def test_only_the_stacks_own_websocket_connections_are_opened(
    page: Page, site: Site, target: Target, path: str
) -> None:
    site.html = "<!DOCTYPE html>"
    page.goto(site.url)
    url = f"ws://127.0.0.1:{target.engine.port}{path}"
    assert (
        page.evaluate(
            "url => new Promise(done => { const socket = new WebSocket(url);"
            " socket.onopen = () => done('open'); socket.onerror = () => done('refused'); })",
            url,
        )
        == "refused"
    )


def test_an_object_in_s3_is_not_served_as_a_page(page: Page, site: Site, target: Target) -> None:
    # given: a page that would have our origin
    s3 = target.client("s3")
    s3.create_bucket(Bucket="somebody-uploaded")
    s3.put_object(
        Bucket="somebody-uploaded", Key="page.html", Body=b"<h1>Hello</h1>", ContentType="text/html"
    )
    # when
    answer = page.goto(f"{target.engine.url}/somebody-uploaded/page.html")
    # then
    assert answer is not None
    assert answer.status == 403


@pytest.mark.parametrize("key", ["test", "000000000000", None], ids=str)
def test_a_wrong_signature_is_refused(target: Target, key: str | None) -> None:
    session = boto3.Session(key or target.engine.access_key_id, "test", region_name="us-east-1")
    for service, call in (("sns", "list_topics"), ("dynamodb", "list_tables"), ("lambda", "list_functions")):
        client: Any = session.client(service, endpoint_url=target.engine.url)  # type: ignore[call-overload]
        with pytest.raises(client.exceptions.ClientError, match="signature is invalid"):
            getattr(client, call)()


# ------------------------------------------------------------------------------------ what a page may do
def test_a_page_of_an_allowed_origin_calls_the_api(page: Page, site: Site, shop: StackClient) -> None:
    # given
    alice = shop.new_customer("10.00")
    site.html = "<!DOCTYPE html>"
    page.goto(site.url)
    # when
    answer = page.evaluate(
        "([url, bearer]) => fetch(url, {headers: {Authorization: bearer}}).then(answer => answer.json())",
        [f"{shop.outputs['apiUrl']}/account/{alice}", shop.bearer()],
    )
    # then
    assert answer["customerId"] == alice


def test_a_page_of_an_allowed_origin_opens_a_websocket_connection(
    page: Page, site: Site, shop: StackClient
) -> None:
    # given
    site.html = "<!DOCTYPE html>"
    page.goto(site.url)
    # when, then
    for token, outcome in ((shop.tokens.of_service(), "open"), ("no-token", "refused")):
        assert (
            page.evaluate(
                "([url, token]) => new Promise(done => {"
                " const socket = new WebSocket(url, ['order-capture', token]);"
                " socket.onopen = () => done('open'); socket.onerror = () => done('refused'); })",
                [shop.outputs["socketUrl"], token],
            )
            == outcome
        )


def test_the_pages_can_not_be_framed(engine: Engine) -> None:
    for path in ("/", "/_docs/", "/_docs/api.html"):
        headers = httpx.get(engine.url + path, trust_env=False).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


# ---------------------------------------------------------------- the console's session
def _asking_for_a_session(url: str, key: str, mode: str, content_type: str) -> str:
    """A script that requests a session, and reports the result."""
    return (
        f"fetch({_json(url + '/_console/session')}, {{method: 'POST', mode: {_json(mode)},"
        f" headers: {{'Content-Type': {_json(content_type)}}}, body: {_json(json.dumps({'key': key}))}}})"
        ".then(async answer => document.title = `${answer.status} ${await answer.text()}`)"
        ".catch(error => document.title = `failed: ${error.message}`)"
    )


def _key_of(shop: StackClient) -> str:
    return urlsplit(shop.outputs["consoleUrl"]).fragment.removeprefix("key=")


def _outcome(page: Page) -> str:
    page.wait_for_function("document.title !== ''")
    return page.title()


@pytest.mark.parametrize("right", [True, False], ids=["the right key", "a wrong key"])
def test_the_consoles_own_page_gets_a_session_for_the_right_key(
    page: Page, engine: Engine, shop: StackClient, right: bool
) -> None:
    page.goto(engine.url)  # of the console's own origin
    page.evaluate(
        _asking_for_a_session(
            engine.url, _key_of(shop) if right else "0" * 64, "same-origin", "application/json"
        )
    )

    assert _outcome(page).startswith('200 {"access_token"' if right else "403 ")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
@pytest.mark.parametrize("mode", ["cors", "no-cors"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_another_origin_gets_no_session_even_with_the_key(
    page: Page, site: Site, engine: Engine, shop: StackClient, mode: str, content_type: str, host: str
) -> None:
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if "/_console/" in answer.url else None)
    url = engine.url.replace("127.0.0.1", host)
    site.html = script(_asking_for_a_session(url, _key_of(shop), mode, content_type))
    page.goto(site.url)

    outcome = _outcome(page)

    assert "access_token" not in outcome
    assert outcome.startswith("failed: ") if mode == "cors" else outcome in ("0 ", "failed: Failed to fetch")
    assert set(statuses) <= {403, 405, 415}


@pytest.mark.parametrize("enctype", ["text/plain", "application/x-www-form-urlencoded"])
def test_no_form_gets_a_session(
    page: Page, site: Site, engine: Engine, shop: StackClient, enctype: str
) -> None:
    # chosen so that the form's only field makes the body valid JSON
    field = (f'{{"key": "{_key_of(shop)}", "ignored": "', '"}')
    site.html = form(engine.url + "/_console/session", [field], method="POST", enctype=enctype)
    with page.expect_response(lambda answer: "/_console/" in answer.url) as answered:
        page.goto(site.url)

    assert answered.value.status in (403, 415)
    assert "access_token" not in answered.value.text()


def test_a_name_that_is_rebound_to_the_engine_gets_no_session(
    page: Page, engine: Engine, shop: StackClient
) -> None:
    rebound = engine.url.replace("127.0.0.1", REBOUND)
    page.goto(rebound + "/favicon.ico")
    page.evaluate(_asking_for_a_session(rebound, _key_of(shop), "same-origin", "application/json"))

    assert _outcome(page).startswith("421 ")


def test_another_origin_reads_nothing_of_the_console(
    page: Page, site: Site, engine: Engine, shop: StackClient
) -> None:
    url = shop.outputs["apiUrl"] + "/console/config.json"
    site.html = script(
        f"fetch({_json(url)}).then(async answer => document.title = await answer.text())"
        ".catch(error => document.title = 'failed')"
    )
    page.goto(site.url)

    assert _outcome(page) == "failed"
