"""schemas/ agrees with the registry, and all messages of earlier releases can still be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts import codegen
from contracts.http_baseline import RESPONSE
from contracts.registry import MESSAGES, Message
from local.engine import ROOT
from order_capture.adapters.messaging import envelopes
from order_capture.adapters.serializers import decimal_json
from order_capture.domain.errors import InvalidMessageError
from tests.support.contracts import READ_AS, committed_schema, errors_of, faults, path_of

SAMPLES = sorted((ROOT / "schemas").glob("*/samples/*.json"))
EARLIER = [(kept, path) for message in codegen.ALL for kept, path in codegen.previous(message.type)]
EARLIER_SAMPLES = [path for kept, path in EARLIER if "/samples/" in kept]
EARLIER_SCHEMAS = [path for kept, path in EARLIER if "/samples/" not in kept]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "schemas"))


def message_of(path: Path) -> Message:
    """The message of a sample: by its type's folder, and the version in its name."""
    kind, version = path.relative_to(ROOT / "schemas").parts[0], path.name.partition(".")[0]
    return next(each for each in codegen.ALL if (each.type, each.version) == (kind, version))


def body_of(path: Path) -> str:
    """A sample as sent: with numbers unchanged, and without whitespace."""
    return decimal_json.dumps(decimal_json.loads(path.read_bytes()))


def data_of(path: Path) -> Any:
    """The part of a sample that its schema describes."""
    body = json.loads(path.read_text(encoding="utf-8"))
    return body["data"] if message_of(path).enveloped else body


def test_the_files_are_what_is_written_from_the_registry() -> None:
    assert codegen.committed() == codegen.generated(), "`make schemas`, and look at the difference"


def test_nothing_else_lies_among_them() -> None:
    known = {*codegen.generated(), *(str(path.relative_to(ROOT)) for _, path in EARLIER)}
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "schemas").rglob("*") if path.is_file()} <= known


def test_no_schema_breaks_whoever_knows_the_committed_one() -> None:
    assert codegen.breaking() == []


@pytest.mark.parametrize("message", codegen.ALL, ids=lambda message: message.type)
def test_a_schema_is_one_and_has_the_name_that_envelopes_carry(message: Message) -> None:
    schema = committed_schema(message)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"] == f"urn:order-capture:{message.type}:{message.version}"
    assert path_of(message) == ROOT / "schemas" / message.type / f"{message.version}.json"


def test_there_is_a_sample_of_every_message() -> None:
    assert {message_of(path) for path in SAMPLES} == set(MESSAGES)


@pytest.mark.parametrize("path", [*SAMPLES, *EARLIER_SAMPLES], ids=name_of)
def test_what_is_sent_now_or_was_before_is_by_the_schema_of_today(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), message_of(path)) == []


@pytest.mark.parametrize(
    "path", [path for path in [*SAMPLES, *EARLIER_SAMPLES] if message_of(path) in READ_AS], ids=name_of
)
def test_what_is_sent_now_or_was_before_is_read_today(path: Path) -> None:
    assert isinstance(envelopes.decode(body_of(path)), READ_AS[message_of(path)])


@pytest.mark.parametrize("path", [path for path in SAMPLES if message_of(path) in READ_AS], ids=name_of)
def test_a_version_that_nobody_knows_yet_is_refused(path: Path) -> None:
    body = body_of(path)
    newer = body.replace(f'{message_of(path).dataschema}"', f'{message_of(path).dataschema}0"')
    assert newer != body
    with pytest.raises(InvalidMessageError, match="unknown version"):
        envelopes.decode(newer)


@pytest.mark.parametrize("path", sorted((ROOT / "events").glob("*.json")), ids=lambda path: path.stem)
def test_the_events_to_try_functions_with_carry_such_messages(path: Path) -> None:
    for record in json.loads(path.read_bytes()).get("Records", []):
        if "body" in record:
            assert faults(record["body"]) == []


def test_who_knows_an_earlier_schema_understands_what_is_sent_today() -> None:
    """They ignore unknown fields: the schemas are open. (test_changes.py shows it for a change.)

    Messages that only clients send are read only by a function that is deployed with its schema.
    """
    found = [
        f"{name_of(schema)}, {name_of(sample)}: {error}"
        for schema in EARLIER_SCHEMAS
        for sample in SAMPLES
        if message_of(sample) == message_of(schema) and RESPONSE in message_of(sample).compatibility
        for error in errors_of(json.loads(schema.read_text(encoding="utf-8")), data_of(sample))
    ]
    assert found == []
