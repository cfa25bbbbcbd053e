"""Checks messages against the committed schemas, as published and as consumed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from contracts import registry
from contracts.http_baseline import resolve
from contracts.registry import ENVELOPE, MESSAGES, Message
from local.engine import ROOT
from order_capture.adapters.serializers import decimal_json
from order_capture.application import messages

Schema = dict[str, Any]

READ_AS: dict[Message, type[messages.Received]] = {
    registry.CHECK: messages.CheckOrder,
    registry.RELEASE: messages.ReleaseOrder,
    registry.SHIP: messages.ShipOrder,
    registry.CHECKED: messages.OrderChecked,
    registry.WATCH: messages.WatchOrder,
    registry.DELIVER: messages.DeliverWebhook,
    **dict.fromkeys(registry.EVENTS, messages.ReceivedOrderEvent),
}
"""What the functions take each message for."""

BY_DATASCHEMA = {message.dataschema: message for message in MESSAGES}


def path_of(message: Message) -> Path:
    """Where a message's schema lies."""
    return ROOT / "schemas" / message.type / f"{message.version}.json"


def committed_schema(message: Message) -> Schema:
    """A message's schema as it lies there."""
    schema: Schema = json.loads(path_of(message).read_text(encoding="utf-8"))
    return schema


def errors_of(schema: Schema, value: Any) -> list[str]:
    """What is wrong with a value for who reads it by this schema, and passes over what it does not name."""
    validator = Draft202012Validator(_strict(schema), format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def faults(text: str, message: Message | None = None) -> list[str]:
    """What is wrong with a message that we have sent; with a CloudEvent, by what it says that it is.

    What we say has no field that its schema does not name.
    """
    event = json.loads(text)
    if message is not None and not message.enveloped:
        return errors_of(_closed(committed_schema(message)), event)
    found = errors_of(_closed(committed_schema(ENVELOPE)), event)
    if found:
        return found
    named = BY_DATASCHEMA.get(event["dataschema"])
    if named is None or (message is not None and named is not message):
        return [f"$.dataschema: {event['dataschema']}"]
    if event["type"] != named.type:
        found.append(f"$.type: {event['type']}")
    if ("sequence" in event) is not named.sequenced:
        found.append("$.sequence: of events, and of nothing else")
    return found + errors_of(_closed(committed_schema(named)), event["data"])


def anything_by(whole: Schema, node: Mapping[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Whatever a schema of ours allows, which knows only the keywords that `contracts.schemas` compares.

    Fields that it does not name, which an open one allows as well, are left to the tests that add some.
    """
    schema = resolve(whole, whole if node is None else node)
    match schema:
        case {"anyOf": alternatives}:
            return st.one_of(*(anything_by(whole, each) for each in alternatives))
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"type": "null"}:
            return st.none()
        case {"type": "integer"}:
            return st.integers(schema.get("minimum"), schema.get("maximum", _MOST))
        case {"type": "number"}:
            least, most = schema.get("minimum"), schema.get("maximum", _MOST)
            numbers = st.floats(least, most, allow_nan=False, allow_infinity=False)
            return st.integers(least, int(most)) | numbers.filter(
                lambda each: each == 0 or abs(each) >= _LEAST
            )
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True, alphabet=_TEXT)
        case {"type": "string"}:
            return st.text(_TEXT, min_size=schema.get("minLength", 0), max_size=schema.get("maxLength"))
        case {"type": "array", "items": items}:
            entries = anything_by(whole, items)
            return st.lists(entries, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems"))
        case {"type": "object"}:
            fields = {name: anything_by(whole, each) for name, each in schema.get("properties", {}).items()}
            required = {name: fields[name] for name in schema.get("required", [])}
            optional = {name: each for name, each in fields.items() if name not in required}
            least, most = schema.get("minProperties", 0), schema.get("maxProperties", len(fields))
            found = st.fixed_dictionaries(required, optional=optional)
            return found.filter(lambda value: least <= len(value) <= most)
    raise NotImplementedError(f"what is by {schema}?")


# What no schema says, and the description of them all does: what a number may be.
_MOST, _LEAST = 2**80, 10.0**-decimal_json.MAX_DIGITS  # exact as a float, and with two decimals of 27 digits
_TEXT = st.characters(codec="utf-8")  # what JSON can hold


def texts_of(message: Message) -> st.SearchStrategy[str]:
    """Every message that its schema and the envelope's allow, as it travels."""
    if not message.enveloped:
        return anything_by(committed_schema(message)).map(json.dumps)
    envelope = committed_schema(ENVELOPE)
    envelope["properties"] |= {
        "type": {"const": message.type},
        "dataschema": {"const": message.dataschema},
        "data": {"const": None},  # which follows
    }
    if message.sequenced:
        envelope["required"] = [*envelope["required"], "sequence"]
    return st.builds(
        lambda event, data: json.dumps(event | {"data": data}),
        anything_by(envelope),
        anything_by(committed_schema(message)),
    )


def _closed(node: Any) -> Any:
    """A schema that lets through only the fields that it names."""
    match node:
        case {"properties": dict()}:
            return {key: _closed(each) for key, each in node.items()} | {"additionalProperties": False}
        case dict():
            return {key: _closed(each) for key, each in node.items()}
        case list():
            return [_closed(each) for each in node]
    return node


def _strict(node: Any) -> Any:
    """With patterns that end where the text does: after a "$" of Python's, a line break may follow."""
    match node:
        case {"pattern": str(pattern)}:
            return {**node, "pattern": re.sub(r"\$$", r"\\Z", pattern)}
        case dict():
            return {key: _strict(each) for key, each in node.items()}
        case list():
            return [_strict(each) for each in node]
    return node
