"""JSON Schemas from the models, and which changes of them break readers or writers of the messages."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from contracts.http_baseline import Facts, Place, bare, breaks, fields, resolve
from contracts.registry import Message

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

# The keywords that `breaking_changes` compares. It rejects all others, since a change of one that it ignores
# could break readers or writers unnoticed.
_COMPARED = {
    *("additionalProperties", "enum", "format", "items", "nullable", "pattern", "properties", "required"),
    *("maximum", "maxItems", "maxLength", "maxProperties", "type"),
    *("minimum", "minItems", "minLength", "minProperties"),
}
_OF_THE_FILE = {"$schema", "$id", "$defs", "title"}


class NotComparableError(Exception):
    """A schema has a keyword that can't be compared."""


def schema_of(message: Message) -> Schema:
    """The schema of a message, named by the `dataschema` of its envelope."""
    own = _without_titles(message.model.model_json_schema(schema_generator=_Generator))
    # Code generators name classes after these titles.
    parts = {name: {"title": name, **each} for name, each in own.pop("$defs", {}).items()}
    definitions = {"$defs": parts} if parts else {}
    return {
        "$schema": DIALECT,
        "$id": message.dataschema,
        "title": message.name,
        **own,
        **definitions,
    }


def same(old: Schema, new: Schema) -> bool:
    """Whether two schemas are the same except for descriptions."""
    return bool(_in_one_order(_without_titles(bare(old))) == _in_one_order(_without_titles(bare(new))))


def breaking_changes(message: Message, old: Schema, new: Schema) -> list[str]:
    """How `new` breaks readers and writers that use `old`; empty if it breaks none.

    Messages of old writers must still be accepted, and old readers must still accept new messages. Readers
    ignore unknown fields. If both apply, as between any two functions, a message may only get new fields, and
    only optional ones.

    Raises:
        NotComparableError: one of the two has a keyword that can't be compared.
    """
    try:
        return breaks(_surface(message, old), _surface(message, new))
    except NotComparableError as error:
        raise NotComparableError(f"{message.type} {message.version}: {error}") from None


def _surface(message: Message, schema: Schema) -> dict[Place, Facts]:
    name = f"{message.type} {message.version}"
    found: dict[Place, Facts] = {(): {}, (name,): {}}
    for side in message.compatibility:
        found |= fields({}, _in_the_contracts_words(schema, schema), (name, side))
    return found


def _in_the_contracts_words(whole: Schema, node: Mapping[str, Any]) -> Schema:
    """A schema in OpenAPI 3.0 form, which `contracts.http_baseline` compares."""
    beside = {key: value for key, value in node.items() if key != "$ref"}
    words = dict(bare({**resolve(whole, node), **beside}))
    if "anyOf" in words:
        alternatives = words.pop("anyOf")
        present = [each for each in alternatives if each != {"type": "null"}]
        if len(present) != 1:
            raise NotComparableError("of an anyOf, only one thing or null can be compared")
        words |= {**_in_the_contracts_words(whole, present[0]), "nullable": len(alternatives) > 1}
    if "const" in words:
        words["enum"] = [words.pop("const")]
    if unknown := words.keys() - _COMPARED - _OF_THE_FILE:
        raise NotComparableError(f"can't be compared: {', '.join(sorted(unknown))}")
    if isinstance(words.get("additionalProperties"), dict):
        raise NotComparableError("additionalProperties can be compared as true or false only")
    if "items" in words:
        words["items"] = _in_the_contracts_words(whole, words["items"])
    if "properties" in words:
        words["properties"] = {
            name: _in_the_contracts_words(whole, each) for name, each in words["properties"].items()
        }
    return words


class _Generator(GenerateJsonSchema):
    """pydantic's generator without defaults: a missing field is absent and has no default."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found, model = super().model_schema(schema), schema["cls"]
        properties, texts = found.get("properties", {}), _docstrings(model)
        for name in texts.keys() & model.model_fields.keys():
            if (alias := model.model_fields[name].alias or name) in properties:
                properties[alias] = {**properties[alias], "description": texts[name]}
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _docstrings(model: type) -> dict[str, str]:
    """The docstring below each field in the source.

    pydantic's `use_attribute_docstrings` does the same as each class is made: 1 ms of each function's start
    for each model.
    """
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        with contextlib.suppress(OSError, TypeError):  # it was not defined as a class
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            for field, text in itertools.pairwise(getattr(node, "body", [])):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                        found[name] = inspect.cleandoc(words)
    return found


def _without_titles(node: Any) -> Any:
    """The schema without the names of the Python classes."""
    match node:
        case dict():
            return {
                key: _without_titles(each)
                for key, each in node.items()
                if not (key == "title" and isinstance(each, str))
            }
        case list():
            return [_without_titles(each) for each in node]
    return node


def _in_one_order(node: Any) -> Any:
    """The schema with the required fields sorted: their order has no meaning."""
    match node:
        case dict():
            return {
                key: sorted(each) if key == "required" and isinstance(each, list) else _in_one_order(each)
                for key, each in node.items()
            }
        case list():
            return [_in_one_order(each) for each in node]
    return node
