"""The API's documentation, as the local stack serves it."""

from __future__ import annotations

import json
import re
import urllib.request
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml

from local import docs
from tests.deployed.shop import StackClient
from tests.support.template import ROOT


class Page(HTMLParser):
    """What a browser would make of the page: its elements' attributes, its styles and its data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.styles = ""
        self.contract: dict[str, Any] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag == "style":
            self.styles += data
        if attributes.get("id") == "contract" and data.strip():
            self.contract = json.loads(data)


@pytest.fixture(scope="module")
def text(shop: StackClient) -> str:
    docs.write()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is not for the loopback
    with opener.open(shop.outputs["docsUrl"]) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        body: bytes = answer.read()
    return body.decode()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_is_whole(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3  # the contract, Redoc, and the line that puts them together
    assert ("div", {"id": "page"}) in page.elements


def test_it_fetches_nothing_from_anywhere(page: Page, text: str) -> None:
    fetching = {"src", "srcset", "href", "data", "poster", "action"}
    assert [element for element in page.elements if fetching & element[1].keys()] == []
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    # The content security policy keeps the script from fetching anything at run time.
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    sources = dict(directive.split(maxsplit=1) for directive in policy.split("; "))
    assert sources.pop("default-src") == "'none'"
    assert set(sources.values()) <= {"'unsafe-inline'", "data:", "blob:"}
    # And the one address that it is known to ask is taken out, so that there is nothing to refuse.
    assert "cdn.redoc" not in text
    assert "fonts.googleapis" not in text


def test_it_has_every_operation_of_the_contract_as_it_stands_there(page: Page) -> None:
    written = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))
    shown = page.contract["paths"]
    for path, operations in written["paths"].items():
        for method in (each for each in operations if not each.startswith("x-amazon-")):
            operation = shown[path].pop(method)
            (sample,) = operation.pop("x-codeSamples")
            assert sample["source"].startswith("curl ")
            ours = {
                key: value for key, value in operations[method].items() if not key.startswith("x-amazon-")
            }
            assert operation == ours
    assert not any(shown.values())


def test_it_has_nothing_that_is_for_api_gateway_only(page: Page) -> None:
    assert not re.search(r"x-amazon-|Fn::|arn:", json.dumps(page.contract))


def test_it_has_the_page_of_every_kind_of_problem(page: Page) -> None:
    described = page.contract["tags"][-1]
    assert described["name"] == "Problems"
    (_, _, whole) = (ROOT / "docs/reference/problems.md").read_text(encoding="utf-8").partition("\n")
    assert described["description"] == whole
