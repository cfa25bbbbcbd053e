"""Every kind of problem that a client can meet has its section in docs/reference/problems.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from order_capture.domain.errors import OrderCaptureError
from order_capture.entrypoints.http.problems import problem

ROOT = Path(__file__).parents[2]
PREFIX = "urn:order-capture:problem:"
CONTRACT: str = (ROOT / "swagger.yaml").read_text(encoding="utf-8")
# Kind -> its page's text, by the headings of docs/reference/problems.md.
PAGES = dict(
    re.findall(
        r"^## (\S+)\n(.*?)(?=^## |\Z)",
        (ROOT / "docs/reference/problems.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


def all_errors(kind: type[Exception] = OrderCaptureError) -> list[type[Exception]]:
    """Every error class of the system."""
    return [kind, *(each for sub in kind.__subclasses__() for each in all_errors(sub))]


def sent_by_the_code() -> dict[str, dict[str, Any]]:
    """Kind -> a problem of that kind, from every error of ours and an unexpected one."""
    found = {}
    for error in [*all_errors(), RuntimeError]:
        raised: Exception = Exception.__new__(error)  # without the arguments of its own __init__
        vars(raised).update(errors=[], indexes=[])  # what some of them carry
        answer = problem(raised)
        found[answer["type"].removeprefix(PREFIX)] = answer
    return found


def sent_by_the_gateway() -> dict[str, dict[str, Any]]:
    """Kind -> a problem of that kind, as the contract's gateway responses make it."""
    found = {}
    for response in yaml.safe_load(CONTRACT)["x-amazon-apigateway-gateway-responses"].values():
        (template,) = response["responseTemplates"].values()
        answer = json.loads(template.replace("$context.error.messageString", '""'))
        found[answer["type"].removeprefix(PREFIX)] = answer
    return found


SENT = {**sent_by_the_gateway(), **sent_by_the_code()}


def test_every_kind_has_its_page_and_every_page_is_of_a_kind() -> None:
    assert PAGES.keys() == SENT.keys()


def test_the_contract_names_no_other_kind() -> None:
    assert set(re.findall(rf"{PREFIX}([\w-]+)", CONTRACT)) <= PAGES.keys()


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_says_the_status_what_it_means_and_what_to_do_and_has_an_example(kind: str) -> None:
    meaning, remedy, _ = PAGES[kind].strip().split("\n\n", 2)
    (example,) = re.findall(r"```json\n(.*?)```", PAGES[kind], re.DOTALL)
    shown = json.loads(example)
    for member in ("type", "title", "status"):
        assert shown.get(member) == SENT[kind].get(member)
    assert shown["detail"]
    assert shown["requestId"]
    assert meaning.startswith(f"**HTTP {shown.get('status', '4xx')}.** ")
    assert len(remedy) > 40


def test_one_kind_has_the_same_title_and_status_whoever_sends_it() -> None:
    for kind in sent_by_the_code().keys() & sent_by_the_gateway().keys():
        ours, the_gateways = sent_by_the_code()[kind], sent_by_the_gateway()[kind]
        assert the_gateways["title"] == ours["title"]
        assert the_gateways.get("status", ours["status"]) == ours["status"]
