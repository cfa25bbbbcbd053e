"""asyncapi.yaml is valid for AsyncAPI's own parser, and agrees with the template, schemas and samples."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from contracts.registry import CHANNELS, MESSAGES, Channel, Kind, Message
from local.engine import ROOT
from tests.support.contracts import faults
from tests.support.node import answer_of
from tests.support.template import load_template

Document = dict[str, Any]

DOCUMENT: Document = yaml.safe_load((ROOT / "asyncapi.yaml").read_text(encoding="utf-8"))
PUBLISHED = {
    f"{channel.name} {message.type}": (channel, message)
    for channel in CHANNELS
    for message in channel.all_messages
}

# Its findings: 0 is an error, 1 a warning, 2 a remark. References are relative to the document.
_PARSE = """
import { Parser, fromFile } from "@asyncapi/parser";
const { document, diagnostics } = await fromFile(new Parser(), process.argv[1]).parse();
const found = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path }));
console.log(JSON.stringify({ version: document?.version(), found }));
"""


def parsed(path: Path) -> Document:
    """The result of AsyncAPI's parser for a document."""
    return answer_of(_PARSE, "@asyncapi/parser", str(path))


def resolve(node: Document) -> Document:
    """The target of `node` if it is a reference into the document, else `node`."""
    while "$ref" in node and node["$ref"].startswith("#/"):
        target: Any = DOCUMENT
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def test_the_parser_of_asyncapi_finds_nothing_wrong_with_it() -> None:
    answer = parsed(ROOT / "asyncapi.yaml")
    assert answer["version"] == "3.0.0"
    # It recommends a later version of AsyncAPI.
    assert [each["code"] for each in answer["found"]] == ["asyncapi-latest-version"]


WRONG: dict[str, Callable[[Document], object]] = {
    "a schema that is not there": lambda new: new["components"]["schemas"].update(
        {"order.ship.v1": {"$ref": "schemas/order.ship/9.json"}}
    ),
    "a message that is not there": lambda new: new["channels"]["ShipOrderQueue"]["messages"].update(
        more={"$ref": "#/components/messages/more"}
    ),
    "an operation that is none": lambda new: new["operations"]["order_update_to_ShipOrderQueue"].update(
        action="shout"
    ),
    "a binding that is none": lambda new: new["channels"]["OrderTopic"]["bindings"]["sns"].pop("name"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_the_parser_would_find_it(change: Callable[[Document], object], tmp_path: Path) -> None:
    wrong = deepcopy(DOCUMENT)
    change(wrong)
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    (tmp_path / "asyncapi.yaml").write_text(yaml.safe_dump(wrong), encoding="utf-8")
    assert [each for each in parsed(tmp_path / "asyncapi.yaml")["found"] if each["severity"] == 0]


def test_it_has_every_channel_and_every_message_on_it() -> None:
    channels = {name: set(channel["messages"]) for name, channel in DOCUMENT["channels"].items()}
    assert channels == {
        channel.name: {f"{message.type}.v{message.version}" for message in channel.all_messages}
        for channel in CHANNELS
    }


def test_it_says_who_sends_and_who_receives() -> None:
    assert set(DOCUMENT["operations"]) == {
        *(f"{name}_to_{channel.name}" for channel in CHANNELS for name in channel.senders),
        *(f"{name}_from_{channel.name}" for channel in CHANNELS for name in channel.receivers),
    }


def test_an_address_that_the_stack_makes_is_one_of_its_outputs() -> None:
    outputs = {name for channel in DOCUMENT["channels"].values() for name in channel.get("parameters", {})}
    assert len(outputs) == len([each for each in CHANNELS if each.kind in (Kind.TOPIC, Kind.QUEUE)])
    assert outputs <= load_template()["Outputs"].keys()


@pytest.mark.parametrize(("channel", "message"), PUBLISHED.values(), ids=PUBLISHED)
def test_an_example_is_one(channel: Channel, message: Message) -> None:
    described = resolve(DOCUMENT["channels"][channel.name]["messages"][f"{message.type}.v{message.version}"])
    assert described["examples"]
    for example in described["examples"]:
        assert faults(json.dumps(example["payload"]), message) == []
        if "headers" in described:
            assert list(Draft202012Validator(described["headers"]).iter_errors(example["headers"])) == []


@pytest.mark.parametrize(("channel", "message"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_payload_is_by_the_committed_schemas(channel: Channel, message: Message) -> None:
    described = resolve(DOCUMENT["channels"][channel.name]["messages"][f"{message.type}.v{message.version}"])
    path = f"schemas/{message.type}/{message.version}.json"
    payload = resolve(described["payload"])
    if message.enveloped:
        assert payload["allOf"] == [{"$ref": "schemas/envelope/1.json"}]
        assert payload["properties"]["dataschema"] == {"const": message.dataschema}
        payload = payload["properties"]["data"]
    assert payload == {"$ref": path}
    assert (ROOT / path).is_file()


def objects(node: Any, place: str = "") -> Iterator[tuple[str, Document]]:
    """Every schema of an object or a choice, for which generators create a class."""
    match node:
        case dict():
            if "properties" in node or "enum" in node:
                yield place, node
            for key, each in node.items():
                yield from objects(each, f"{place}/{key}")
        case list():
            for number, each in enumerate(node):
                yield from objects(each, f"{place}/{number}")


DOCUMENTS = {"asyncapi.yaml": DOCUMENT} | {
    str(path.relative_to(ROOT)): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "schemas").glob("*/*.json"))
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_whatever_becomes_a_class_has_a_name_that_can_be_one(document: Document) -> None:
    found = list(objects(document))
    assert found
    assert [
        place for place, each in found if not re.fullmatch("[A-Z][A-Za-z0-9]*", each.get("title", ""))
    ] == []


def test_no_two_messages_or_schemas_have_one_name() -> None:
    names = [each["name"] for each in DOCUMENT["components"]["messages"].values()]
    names += [each["title"] for path, each in DOCUMENTS.items() if path != "asyncapi.yaml"]
    names += [each["title"] for each in DOCUMENT["components"]["schemas"].values() if "title" in each]
    doubled = {name for name in names if names.count(name) > 1}
    # A message without an envelope has its schema's name.
    assert doubled == {"SocketSubscribe", "SocketSubscribed", "SocketProblem"} | {
        each.name for each in MESSAGES if each.enveloped
    }


def test_what_goes_with_a_message_is_what_its_channel_has() -> None:
    def headers(channel: str) -> list[set[str]]:
        messages = DOCUMENT["channels"][channel]["messages"].values()
        return [set(resolve(each).get("headers", {}).get("required", [])) for each in messages]

    assert all(each == {"type", "version"} for each in headers("OrderEventTopic"))
    assert all(each == {"type", "version"} for each in headers("SocketPusherQueue"))
    placed = resolve(DOCUMENT["channels"]["OrderEventTopic"]["messages"]["order.placed.v1"])
    assert {"noWebhooks", "noConnections"} <= set(placed["headers"]["properties"])
    assert all(
        {"webhook-id", "webhook-timestamp", "webhook-signature"} <= each for each in headers("Webhook")
    )
    assert not any(headers("SocketApi"))


def test_a_connection_takes_a_token_and_what_is_asked_is_answered() -> None:
    (server,) = (resolve(each) for each in DOCUMENT["channels"]["SocketApi"]["servers"])
    (scheme,) = (resolve(each) for each in server["security"])
    assert (server["protocol"], scheme["type"], scheme["scheme"]) == ("wss", "http", "bearer")
    requested = DOCUMENT["operations"]["socket_api_from_SocketApi"]
    assert [each["$ref"].rpartition("/")[2] for each in requested["messages"]] == ["socket.subscribe.v1"]
    assert [each["$ref"].rpartition("/")[2] for each in requested["reply"]["messages"]] == [
        "socket.subscribed.v1",
        "socket.problem.v1",
    ]
