"""The bodies in the Postman collection: each is an example of swagger.yaml with some changes.

`postman/bodies.yaml` names the example of each request, by the request's name, and the changes to it as a
merge patch (RFC 7396: null removes a field). The examples' customers and products become those of the run.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import simplejson
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "swagger.yaml"
COLLECTION = ROOT / "postman/order-capture.postman_collection.json"
BODIES = ROOT / "postman/bodies.yaml"

OF_THE_RUN = {
    "alice": "{{customerId}}",
    "bob": "{{otherCustomerId}}",
    "espresso-beans": "{{productId}}",
}
"""The variable for each customer and product of the examples, so that every run uses new ones."""

Document = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """YAML whose numbers keep their digits: 25.50 is not 25.5."""


_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: Decimal(node.value))


def load(text: str) -> Document:
    """A document with its numbers unchanged."""
    document: Document = yaml.load(text, Loader=_Loader)  # nosec B506 # it is a safe one
    return document


def written(collection: Document, contract: Document, bodies: Document) -> Document:
    """The collection with its bodies replaced.

    Raises:
        ValueError: `bodies` has an unknown request or example, or lacks a request.
    """
    collection = json.loads(json.dumps(collection))
    requests = {each["name"]: each["request"] for each in _requests(collection) if "body" in each["request"]}
    if odd := sorted(requests.keys() ^ bodies.keys()):
        names = ", ".join(odd)
        raise ValueError(f"postman/bodies.yaml and the collection must have the same requests: {names}")
    for name, request in requests.items():
        entry = bodies[name]
        request["body"]["raw"] = entry["raw"] if "raw" in entry else _body(name, request, contract, entry)
    return collection


def _body(name: str, request: Document, contract: Document, entry: Document) -> str:
    examples = examples_of(request, contract)
    if entry["example"] not in examples:
        raise ValueError(f"{name}: example must be one of {', '.join(examples)}, not {entry['example']}")
    body = patched(of_the_run(examples[entry["example"]]), entry.get("changes", {}))
    return str(simplejson.dumps(body, indent=2, use_decimal=True))


def examples_of(request: Document, contract: Document) -> dict[str, Any]:
    """The examples of the contract for the body of a request, by name."""
    path = "/" + "/".join(request["url"]["path"])
    content = contract["paths"][path][request["method"].lower()]["requestBody"]["content"]
    return {name: each["value"] for name, each in content["application/json"]["examples"].items()}


def of_the_run(value: Any) -> Any:
    """An example with the customers and products of the run."""
    match value:
        case str():
            return OF_THE_RUN.get(value, value)
        case list():
            return [of_the_run(each) for each in value]
        case dict():
            return {key: of_the_run(each) for key, each in value.items()}
    return value


def patched(value: Any, patch: Any) -> Any:
    """A value with a merge patch applied to it."""
    if not isinstance(patch, dict):
        return patch
    changed = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            changed.pop(name, None)
        else:
            changed[name] = patched(changed.get(name), change)
    return changed


def _requests(folder: Mapping[str, Any]) -> Iterator[Document]:
    for each in folder["item"]:
        if "item" in each:
            yield from _requests(each)
        else:
            yield each


def text_of(collection: Document) -> str:
    """A collection as text for its file."""
    return json.dumps(collection, indent=2) + "\n"


def main() -> int:
    """Write the bodies into the collection."""
    collection = json.loads(COLLECTION.read_text(encoding="utf-8"))
    contract, bodies = (load(file.read_text(encoding="utf-8")) for file in (CONTRACT, BODIES))
    try:
        new = text_of(written(collection, contract, bodies))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if new == text_of(collection):
        print("The collection's bodies are up to date.")
    else:
        COLLECTION.write_text(new, encoding="utf-8")
        print("The collection's bodies were updated.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
