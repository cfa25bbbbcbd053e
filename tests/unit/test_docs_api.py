"""The parts of swagger.yaml on the API's page."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from local import docs_api
from tests.support.template import ROOT

WRITTEN = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))
SHOWN = docs_api.contract()
METHODS = ("get", "post", "delete")
OPERATIONS = [
    (method, path)
    for path, item in WRITTEN["paths"].items()
    for method in item
    if method in METHODS  # not OPTIONS, which only browsers send
]


def operation(method: str, path: str, of: dict[str, Any] = SHOWN) -> dict[str, Any]:
    found: dict[str, Any] = of["paths"][path][method]
    return found


def sample(label: str, method: str, path: str) -> str:
    samples = operation(method, path)["x-codeSamples"]
    (source,) = [each["source"] for each in samples if each["label"] == label]
    return str(source)


def patterns(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pattern of the contract, with what it is a pattern of."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"], node
        for value in node.values():
            yield from patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from patterns(value)


def test_it_has_every_operation() -> None:
    shown = [(method, path) for path, item in SHOWN["paths"].items() for method in item]
    assert shown == OPERATIONS


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_says_what_the_contract_says(method: str, path: str) -> None:
    written, shown = operation(method, path, WRITTEN), operation(method, path)
    for part in ("summary", "description", "operationId", "security", "tags"):
        assert shown.get(part) == written.get(part)
    successes = [status for status in written["responses"] if status < "400"]
    assert list(shown["responses"]) == [*successes, "default"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_its_errors_are_one_response_that_names_each_status(method: str, path: str) -> None:
    written = operation(method, path, WRITTEN)["responses"]
    folded = operation(method, path)["responses"]["default"]["description"]
    assert re.findall(r"\b[45]\d\d\b", folded.split("\n")[0]) == [each for each in written if each >= "400"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_meaning_of_an_error_is_lost(method: str, path: str) -> None:
    """It is with the operation, or in the introduction's table."""
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", SHOWN["info"]["description"], re.MULTILINE))
    folded = operation(method, path)["responses"]["default"]["description"]
    own = dict(re.findall(r"^\*\*(\d+)\*\*: (.+)$", folded, re.MULTILINE))
    for status, response in operation(method, path, WRITTEN)["responses"].items():
        if status >= "400":
            name = response["$ref"].rpartition("/")[2]
            described = " ".join(WRITTEN["components"]["responses"][name]["description"].split())
            assert own.get(status, table[status]) == described


def test_it_has_nothing_that_is_for_api_gateway_only() -> None:
    assert not re.search(r"x-amazon-|Fn::|arn:", json.dumps(SHOWN))


def test_no_pattern_is_shown_and_each_is_put_into_words() -> None:
    assert list(patterns(SHOWN["components"])) == []
    assert list(patterns(SHOWN["paths"])) == []
    parameters = WRITTEN["components"]["parameters"].values()
    described = {id(each["schema"]): each["description"] for each in parameters if "description" in each}
    for pattern, schema in patterns(WRITTEN):
        words = schema.get("description") or described.get(id(schema)) or docs_api.IN_WORDS.get(pattern)
        # What an address must not have is in the words about what it has.
        assert words or pattern == WRITTEN["components"]["schemas"]["Address"]["not"]["pattern"], pattern


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_each_operation_has_samples_in_curl_and_python(method: str, path: str) -> None:
    curl, python = (sample(label, method, path) for label in ("curl", "Python"))
    address = re.findall(rf'"({re.escape(docs_api.ADDRESS)}[^"]*)"', curl)
    assert address == re.findall(rf'"({re.escape(docs_api.ADDRESS)}[^"]*)"', python)
    assert "{" not in address[0]
    assert "None" not in address[0]
    assert curl.startswith("curl ")
    names = {node.id for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Name)}
    assert names <= {"os", "requests", "headers", "answer", "print", "dict"}  # and no JSON's true
    assert f"requests.{method}(" in python
    body = operation(method, path).get("requestBody")
    assert ("-d '" in curl) == ("json=" in python) == (body is not None)


def test_samples_leave_out_what_may_be_left_out() -> None:
    assert "?" not in sample("curl", "get", "/orders")
    assert "?customerId=" in sample("curl", "get", "/webhooks")
    cursor = [each for each in operation("get", "/orders")["parameters"] if each["name"] == "status"]
    assert cursor[0]["examples"]["default"]["x-disabled"] is True
