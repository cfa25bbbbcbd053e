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
"""The model with which the functions parse each message."""

BY_DATASCHEMA = {message.dataschema: message for message in MESSAGES}


def path_of(message: Message) -> Path:
    """The path of a message's schema."""
    return ROOT / "schemas" / message.type / f"{message.version}.json"


def committed_schema(message: Message) -> Schema:
    """A message's committed schema."""
    schema: Schema = json.loads(path_of(message).read_text(encoding="utf-8"))
    return schema


def errors_of(schema: Schema, value: Any) -> list[str]:
    """The faults of a value for a reader of this schema, who ignores unknown fields."""
    validator = Draft202012Validator(_strict(schema), format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def faults(text: str, message: Message | None = None) -> list[str]:
    """The faults of a message that we sent; a CloudEvent's schema is the one that it names.

    Our messages have no fields that are not in their schemas.
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
    """All values that a schema of ours allows; it uses only the keywords that `contracts.schemas` compares.

    Additional fields, which an open schema allows, are left to the tests that add some.
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


# The range of a number is in the common description, not in any schema.
_MOST, _LEAST = 2**80, 10.0**-decimal_json.MAX_DIGITS  # exact as a float, and with two decimals of 27 digits
_TEXT = st.characters(codec="utf-8")  # what JSON can hold


def texts_of(message: Message) -> st.SearchStrategy[str]:
    """Every message that its schema and the envelope's allow, as sent."""
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
    """A schema that allows only the fields that it names."""
    match node:
        case {"properties": dict()}:
            return {key: _closed(each) for key, each in node.items()} | {"additionalProperties": False}
        case dict():
            return {key: _closed(each) for key, each in node.items()}
        case list():
            return [_closed(each) for each in node]
    return node


def _strict(node: Any) -> Any:
    """The schema with patterns that match to the end: Python's "$" allows a trailing line break."""
    match node:
        case {"pattern": str(pattern)}:
            return {**node, "pattern": re.sub(r"\$$", r"\\Z", pattern)}
        case dict():
            return {key: _strict(each) for key, each in node.items()}
        case list():
            return [_strict(each) for each in node]
    return node
