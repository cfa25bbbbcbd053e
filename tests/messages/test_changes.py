"""Which changes of a message break its readers or writers, and how `make schemas` handles a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import Field, create_model

from contracts import codegen
from contracts.__main__ import main
from contracts.registry import (
    CHECKED,
    ENVELOPE,
    EVENTS,
    MESSAGES,
    REFUSED,
    SHIP,
    SUBSCRIBE,
    SUBSCRIBED,
    WATCH,
    Message,
)
from contracts.schemas import NotComparableError, breaking_changes, schema_of
from order_capture.application.messages import ShipOrder
from order_capture.application.models import OMITTABLE, Id, Text
from order_capture.application.snapshots import Terms
from tests.support.contracts import anything_by, errors_of

Schema = dict[str, Any]
Change = Callable[[Schema], object]

CONFIRMED = EVENTS[1]


def field(schema: Schema, *names: str) -> Schema:
    """A field of a schema: `field(schema, "Line", "qty")` is that of one of its definitions."""
    *within, name = names
    for each in within:
        schema = schema["$defs"][each]
    found: Schema = schema["properties"][name]
    return found


def changed(message: Message, change: Change) -> Schema:
    schema = deepcopy(schema_of(message))
    change(schema)
    return schema


# Messages between two functions, either of which may be the newer one.
BREAKING: dict[str, tuple[Message, Change, str]] = {
    "a field less": (
        CHECKED,
        lambda new: (new["properties"].pop("available"), new["required"].remove("available")),
        "order.checked 1 request available is gone",
    ),
    "a field more that has to be there": (
        CHECKED,
        lambda new: (new["properties"].update(unit={"type": "string"}), new["required"].append("unit")),
        "order.checked 1 request unit is new and required",
    ),
    "a field that may be left out now": (
        CHECKED,
        lambda new: new["required"].remove("asked"),
        "order.checked 1 response asked: required",
    ),
    "a field of the envelope less": (
        ENVELOPE,
        lambda new: new["properties"].pop("sequence"),
        "envelope 1 response sequence is gone",
    ),
    "a field that has to be there now": (
        ENVELOPE,
        lambda new: new["required"].append("sequence"),
        "envelope 1 request sequence: required",
    ),
    "another type": (
        WATCH,
        lambda new: field(new, "looks").update(type="string"),
        "order.watch 1 request looks: type integer → string",
    ),
    "a number that need not be whole": (
        WATCH,
        lambda new: field(new, "looks").update(type="number"),
        "order.watch 1 response looks: type",
    ),
    "a number that must be whole": (
        SHIP,
        lambda new: field(new, "totalAmount").update(type="integer"),
        "order.ship 1 request totalAmount: type number → integer",
    ),
    "a value less": (
        CHECKED,
        lambda new: new["$defs"]["CheckType"]["enum"].remove("STOCK"),
        "order.checked 1 request check: enum",
    ),
    "a value more": (
        CHECKED,
        lambda new: new["$defs"]["CheckType"]["enum"].append("WEATHER"),
        "order.checked 1 response check: enum",
    ),
    "another value": (
        CONFIRMED,
        lambda new: field(new, "status").update(const="ACCEPTED"),
        "order.confirmed 1 request status: enum",
    ),
    "null where there was none": (
        CONFIRMED,
        lambda new: new["properties"].update(
            checks={"anyOf": [{"$ref": "#/$defs/Checks"}, {"type": "null"}]}
        ),
        "order.confirmed 1 response checks: nullable",
    ),
    "no null any more": (
        CONFIRMED,
        lambda new: field(new, "Checks", "stock").update(anyOf=[{"$ref": "#/$defs/Decision"}]),
        "order.confirmed 1 request checks stock: nullable",
    ),
    "a narrower bound": (
        SHIP,
        lambda new: field(new, "items").update(maxItems=10),
        "order.ship 1 request items: maxItems 50 → 10",
    ),
    "a wider bound": (
        SHIP,
        lambda new: field(new, "Line", "qty").update(minimum=0),
        "order.ship 1 response items[] qty: minimum 1 → 0",
    ),
    "another pattern": (
        SHIP,
        lambda new: field(new, "Line", "productId").update(pattern="^[a-z]+$"),
        "order.ship 1 request items[] productId: pattern",
    ),
    "fields that nobody knows are refused": (
        SHIP,
        lambda new: new.update(additionalProperties=False),
        "order.ship 1 request: closed",
    ),
    # Messages from a client: only the client may be the older one.
    "something else to ask": (
        SUBSCRIBE,
        lambda new: field(new, "action").update(const="follow"),
        "socket.subscribe 1 request action: enum",
    ),
    "more that has to be asked": (
        SUBSCRIBE,
        lambda new: new.update(minProperties=3),
        "socket.subscribe 1 request: minProperties 2 → 3",
    ),
    # The same for replies to a client.
    "an answer without a field": (
        REFUSED,
        lambda new: new["properties"].pop("asked"),
        "socket.problem 1 response asked is gone",
    ),
    "an answer that may leave a field out": (
        SUBSCRIBED,
        lambda new: new["required"].remove("subscribed"),
        "socket.subscribed 1 response subscribed: required",
    ),
}


@pytest.mark.parametrize(("message", "change", "found"), BREAKING.values(), ids=BREAKING)
def test_what_breaks_somebody_is_noticed(message: Message, change: Change, found: str) -> None:
    found_changes = breaking_changes(message, schema_of(message), changed(message, change))
    assert [each for each in found_changes if each.startswith(found)]


MORE = {"type": "object", "required": ["by"], "properties": {"by": {"type": "string"}}}
HARMLESS: dict[str, tuple[Message, Change]] = {
    "nothing": (CHECKED, lambda new: None),
    "a field more": (CHECKED, lambda new: new["properties"].update(more=MORE)),
    "a field more, further in": (SHIP, lambda new: new["$defs"]["Line"]["properties"].update(more=MORE)),
    "a field more of the envelope": (ENVELOPE, lambda new: new["properties"].update(traceparent=MORE)),
    "other words": (SHIP, lambda new: (new.update(description="…"), field(new, "items").update(title="…"))),
    "the same, written out": (
        CHECKED,
        lambda new: new["properties"].update(check=new["$defs"].pop("CheckType")),
    ),
    "more that a client may ask": (SUBSCRIBE, lambda new: new.update(maxProperties=9)),
    "more that a client may say": (SUBSCRIBE, lambda new: new["properties"].update(since={"type": "string"})),
    "a field that an answer always has": (
        REFUSED,
        lambda new: new["$defs"]["Problem"]["required"].append("errors"),
    ),
    "a code more, of an open set": (
        CHECKED,
        lambda new: field(new, "code")["anyOf"][0]["x-extensible-enum"].append("BAD_LUCK"),
    ),
    "an answer within narrower bounds": (REFUSED, lambda new: field(new, "asked").update(maxLength=100)),
}


@pytest.mark.parametrize(("message", "change"), HARMLESS.values(), ids=HARMLESS)
def test_what_breaks_nobody_is_not_held_up(message: Message, change: Change) -> None:
    assert breaking_changes(message, schema_of(message), changed(message, change)) == []


@pytest.mark.parametrize(
    "unknown",
    [
        {"multipleOf": 2},
        {"oneOf": [{"type": "string"}]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"additionalProperties": {"type": "string"}},
    ],
    ids=json.dumps,
)
def test_what_can_not_be_compared_is_refused_rather_than_passed_over(unknown: Schema) -> None:
    schema = changed(CHECKED, lambda new: new["properties"].update(more=unknown))
    with pytest.raises(NotComparableError, match=f"^{CHECKED.type} {CHECKED.version}: "):
        breaking_changes(CHECKED, schema_of(CHECKED), schema)


# What `make schemas` does.

EXTENDED = create_model("OrderShip", __base__=ShipOrder, carrier=(Text, OMITTABLE))
SHORTER = create_model("OrderShip", __base__=Terms, items=(list[Id], ...))


def with_ship(*versions: Message) -> tuple[Message, ...]:
    """The registry, with other versions of order.ship."""
    return (*(each for each in codegen.ALL if each is not SHIP), *versions)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the current files."""
    monkeypatch.setattr("sys.argv", ["schemas"])
    assert main(root=tmp_path) == 0
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in root.rglob("*")
        if path.is_file()
    }


def test_without_a_change_nothing_is_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    capsys.readouterr()

    assert main(root=root) == 0

    assert capsys.readouterr().out == "Nothing has changed.\n"
    assert contents(root) == before == codegen.generated()


def test_a_break_is_refused_and_leaves_everything_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(root)

    assert main(with_ship(replace(SHIP, model=SHORTER)), root) == 1

    printed = capsys.readouterr().out
    assert "order.ship 1 request items[] productId is gone" in printed
    assert "add a\nnew one to contracts/registry.py" in printed
    assert contents(root) == before


def test_what_can_not_be_compared_is_reported_in_a_line_and_leaves_everything_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(root)
    paired = create_model("OrderShip", __base__=ShipOrder, pairs=(int, Field(multiple_of=2)))
    capsys.readouterr()

    assert main(with_ship(replace(SHIP, model=paired)), root) == 1

    assert capsys.readouterr().out.startswith("order.ship 1: can't be compared: multipleOf\n")
    assert contents(root) == before


def test_it_is_taken_as_a_version_beside_the_old_one(root: Path) -> None:
    before = contents(root)

    assert main(with_ship(SHIP, replace(SHIP, model=SHORTER, version="2")), root) == 0

    after = contents(root)
    assert after["schemas/order.ship/1.json"] == before["schemas/order.ship/1.json"]
    assert json.loads(after["schemas/order.ship/2.json"])["$id"] == "urn:order-capture:order.ship:2"


def test_a_version_that_is_out_can_not_just_go(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(with_ship(), root) == 1
    assert "order.ship 1 was removed" in capsys.readouterr().out


def test_other_words_replace_the_old_ones(root: Path) -> None:
    reworded = create_model("OrderShip", __base__=ShipOrder, __doc__="Send it off.")

    assert main(with_ship(replace(SHIP, model=reworded)), root) == 0

    assert "Send it off." in (root / "schemas/order.ship/1.json").read_text(encoding="utf-8")
    assert list(codegen.previous("order.ship", root)) == []


def test_what_an_extension_replaces_is_kept_for_good(root: Path) -> None:
    path, sample = root / "schemas/order.ship/1.json", root / "schemas/order.ship/samples/1.one-product.json"
    first = path.read_bytes()
    sample.write_text("{}", encoding="utf-8")  # as if from an earlier release

    assert main(with_ship(replace(SHIP, model=EXTENDED)), root) == 0
    again = create_model("OrderShip", __base__=EXTENDED, parcel=(Text, OMITTABLE))
    second = path.read_bytes()
    assert main(with_ship(replace(SHIP, model=again)), root) == 0

    earlier = root / "schemas/order.ship/earlier"
    kept = {str(path.relative_to(earlier)): place for place, path in codegen.previous("order.ship", root)}
    assert kept == {
        "1/1.json": "schemas/order.ship/1.json",
        "1/samples/1.one-product.json": "schemas/order.ship/samples/1.one-product.json",
        "2/1.json": "schemas/order.ship/1.json",
    }
    assert (earlier / "1/1.json").read_bytes() == first
    assert (earlier / "2/1.json").read_bytes() == second


def test_readers_and_writers_of_both_sides_of_an_extension_understand_each_other() -> None:
    old, new = schema_of(SHIP), schema_of(replace(SHIP, model=EXTENDED))
    assert breaking_changes(SHIP, old, new) == []
    seen = set()

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(anything_by(old), anything_by(new))
    def look(yesterdays: Any, todays: Any) -> None:
        assert errors_of(new, yesterdays) == []
        assert errors_of(old, todays) == []
        seen.add("carrier" in todays)

    look()
    assert seen == {True, False}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_every_schema_can_be_compared(message: Message) -> None:
    assert breaking_changes(message, schema_of(message), schema_of(message)) == []
