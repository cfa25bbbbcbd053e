"""What clients rely on in swagger.yaml, and which changes of it would break them.

`docs/contract-baseline.yaml` is the contract that clients have: swagger.yaml without its prose. It is
committed with every change of swagger.yaml (`make baseline`), so that any clone
can compare with main's. A breaking change is allowed only with a new major version.

Requests may only be widened, and responses only narrowed: a valid request stays valid, and an impossible
response stays impossible. But responses may get new fields and statuses, as the contract itself states.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "swagger.yaml"
BASELINE = ROOT / "docs/contract-baseline.yaml"

Document = dict[str, Any]
Facts = dict[str, Any]
Place = tuple[str, ...]
"""An operation, then what of it: `("POST /order", "sent", "query limit")`."""

REQUEST, RESPONSE = "request", "response"

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PROSE = ("description", "summary", "example", "examples", "tags", "links", "externalDocs")
# Nodes whose keys are names.
_NAMED = (
    "$defs",
    "content",
    "headers",
    "parameters",
    "paths",
    "properties",
    "responses",
    "schemas",
    "securitySchemes",
)
_LEAST = ("minimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("type", "pattern", "format", "default")

_HEAD = "# The contract that clients rely on, written by `make baseline`: swagger.yaml without its prose.\n"


def read(path: Path) -> Document:
    """A contract without its prose and its API Gateway extensions."""
    found: Document = bare(yaml.safe_load(path.read_text(encoding="utf-8")))
    found["paths"] = {route: item for route, item in found["paths"].items() if item}  # no catch-all
    return found


def surface(contract: Document) -> dict[Place, Facts]:
    """Everything in a contract that clients rely on: each place, and the facts about it."""
    found: dict[Place, Facts] = {(): {}}
    for path, item in contract["paths"].items():
        for method in (each for each in _METHODS if each in item):
            operation, name = item[method], f"{method.upper()} {path}"
            tokens = _tokens(operation.get("security", contract.get("security", [])))
            found |= {(name,): {}, (name, REQUEST, "token"): {"enum": tokens} if tokens else {}}
            for each in [*item.get("parameters", []), *operation.get("parameters", [])]:
                parameter = resolve(contract, each)
                place: Place = (name, REQUEST, f"{parameter['in']} {parameter['name']}")
                found |= fields(
                    contract, parameter["schema"], place, required=parameter.get("required", False)
                )
            if "requestBody" in operation:
                body = resolve(contract, operation["requestBody"])
                found[name, REQUEST, "body"] = {"required": True} if body.get("required") else {}
                for media_type, content in body["content"].items():
                    place = (name, REQUEST, "body", media_type)
                    found |= fields(contract, content["schema"], place, required=False)
            for status, each in operation["responses"].items():
                answer = resolve(contract, each)
                found[name, RESPONSE, status] = {}
                for title, each_header in answer.get("headers", {}).items():
                    header = resolve(contract, each_header)
                    place, required = (name, RESPONSE, status, title), header.get("required", False)
                    found |= fields(contract, header["schema"], place, required=required)
                for media_type, content in answer.get("content", {}).items():
                    found |= fields(contract, content["schema"], (name, RESPONSE, status, media_type))
    return found


def fields(
    contract: Document, node: Mapping[str, Any], place: Place = (), *, required: bool = True
) -> dict[Place, Facts]:
    """A schema and every field in it, each at its place below `place`; `[]` is any entry of a list."""
    schema = resolve(contract, node)
    facts = {key: schema[key] for key in ("enum", *_EXACT, *_LEAST, *_MOST) if key in schema}
    flags = {
        "required": required,
        "nullable": schema.get("nullable", False),
        "unique": schema.get("uniqueItems", False),
        "closed": schema.get("additionalProperties") is False,
    }
    found: dict[Place, Facts] = {place: facts | {flag: True for flag, is_so in flags.items() if is_so}}
    if "items" in schema:
        found |= fields(contract, schema["items"], (*place, "[]"))
    for name, each in schema.get("properties", {}).items():
        found |= fields(contract, each, (*place, name), required=name in schema.get("required", []))
    for each in schema.get("allOf", []):
        for below, more in fields(contract, each, place, required=required).items():
            found[below] = found.get(below, {}) | more
    return found


def resolve(contract: Document, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The target of `node` if it is a reference, else `node`."""
    while "$ref" in node:
        target: Any = contract
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def breaking_changes(old: Document, new: Document) -> list[str]:
    """How the new contract breaks a client of the old one; empty if it does not."""
    return breaks(surface(old), surface(new))


def breaks(before: dict[Place, Facts], now: dict[Place, Facts]) -> list[str]:
    """How the changes break clients of the old contract."""
    found = [
        f"{_described(place)} is gone"
        for place in before
        if place not in now and _above(place, before) in now
    ]
    for place, facts in now.items():
        if place not in before:
            if REQUEST in place and facts.get("required") and _above(place, now) in before:
                found.append(f"{_described(place)} is new and required")
            continue
        lost = _less(before[place], facts) if REQUEST in place else _less(facts, before[place])
        found += [
            f"{_described(place)}: {fact} {before[place].get(fact)} → {facts.get(fact)}" for fact in lost
        ]
    return found


def _less(wide: Facts, narrow: Facts) -> Iterator[str]:
    """The facts by which `narrow` allows less than `wide`."""
    for flag in ("required", "closed", "unique"):
        if narrow.get(flag) and not wide.get(flag):
            yield flag
    if wide.get("nullable") and not narrow.get("nullable"):
        yield "nullable"
    for fact in _EXACT:
        every_integer_is_a_number = (wide.get(fact), narrow.get(fact)) == ("integer", "number")
        if fact in narrow and narrow[fact] != wide.get(fact) and not every_integer_is_a_number:
            yield fact
    if "enum" in narrow and not {*wide.get("enum", [object()])} <= {*narrow["enum"]}:
        yield "enum"
    for fact in _LEAST:
        if fact in narrow and narrow[fact] > wide.get(fact, float("-inf")):
            yield fact
    for fact in _MOST:
        if fact in narrow and narrow[fact] < wide.get(fact, float("inf")):
            yield fact


def _tokens(doors: list[dict[str, list[str]]]) -> list[str]:
    """The tokens that an operation accepts, each with its scopes; none if none is needed."""
    return [" ".join([kind, *sorted(scopes)]) for door in doors for kind, scopes in sorted(door.items())]


def _above(place: Place, known: Mapping[Place, Facts]) -> Place:
    """The parent of a place."""
    return next(place[:end] for end in reversed(range(len(place))) if place[:end] in known)


def _described(place: Place) -> str:
    return " ".join(place).replace(" []", "[]")


def bare(node: Any, *, named: bool = False) -> Any:
    """A node without prose and extensions; all keys of a `named` one are names."""
    match node:
        case dict():
            return {
                key: bare(value, named=not named and key in _NAMED)
                for key, value in node.items()
                if named or not (key in _PROSE or key.startswith("x-"))
            }
        case list():
            return [bare(each) for each in node]
    return node


def main() -> int:
    """`make baseline`: record swagger.yaml as the clients' contract, unless it breaks them."""
    argparse.ArgumentParser(prog="make baseline", description=main.__doc__).parse_args()
    new, old = read(CONTRACT), read(BASELINE) if BASELINE.exists() else None
    broken = breaking_changes(old, new) if old else []
    if old and broken and _major(new) == _major(old):
        print("\n".join(broken))
        print(
            f"\nThis breaks clients: swagger.yaml needs another major version than {old['info']['version']}"
        )
        return 1
    text = yaml.safe_dump(new, allow_unicode=True, sort_keys=False, width=118)
    BASELINE.write_text(_HEAD + text, encoding="utf-8")
    print(BASELINE.relative_to(ROOT))
    return 0


def _major(contract: Document) -> str:
    version: str = contract["info"]["version"]
    return version.partition(".")[0]


if __name__ == "__main__":
    sys.exit(main())
