"""The documentation's API page, one self-contained HTML file.

It is generated from swagger.yaml, which Scalar renders in the browser. The page contains Scalar's script and
the contract, and its content security policy allows requests to its own server only.

If the engine serves it, it knows the API's address. Opened with the key that `make run` prints, it can send
requests: it exchanges the key for a token, as the console does. Opened as a file, it explains how to get
there.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from local.engine import ROOT

_BUNDLE = "flask_openapi_scalar/templates/scalar/js/scalar.standalone.js"
_METHODS = ("get", "head", "post", "put", "patch", "delete")  # not OPTIONS, which only browsers send
_SCRIPT = Path(__file__).with_name("docs_api.js")

ADDRESS = "https://address-of-the-api.invalid"
"""The placeholder for the API's address in samples, which the page replaces."""

IN_WORDS = {
    "^[A-Z][A-Z0-9_]{0,63}$": "Capital letters, digits and `_`.",
    "^[0-9a-f]+$": "Digits and the letters a to f.",
    "^[a-z_]+$": "Small letters and `_`.",
}
"""Patterns in words. Others are in the description of their schema (tests/unit/test_docs_api.py)."""

_ABOUT_SAMPLES = """
# Samples

Samples take the token from the shell. `make token` prints one for the local stack, as a whole header:

```sh
export TOKEN="$(make -s token)"
```
"""

_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {hashes}; \
style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src 'self'; form-action 'none'; \
base-uri 'none'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ margin: 0 }}
#hint {{ font: 14px/1.5 system-ui, sans-serif; padding: .5rem 1rem; background: #fff4d6; color: #3d2c00 }}
#hint:empty {{ display: none }}
</style>
</head>
<body>
<div id="hint" role="status"></div>
<div id="page"></div>
<noscript>This page needs JavaScript. swagger.yaml has the same contract.</noscript>
<script type="application/json" id="contract">{contract}</script>
<script>{scalar}</script>
<script>{script}</script>
</body>
</html>
"""


def contract() -> dict[str, Any]:
    """swagger.yaml for readers.

    Parts for API Gateway and browsers only are removed. Errors, which most operations share, are in one
    table; patterns are in words.
    """
    read: dict[str, Any] = _for_readers(yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8")))
    for path, item in list(read["paths"].items()):
        item.pop("options", None)
        if not item:  # the catch-all
            del read["paths"][path]
        for method in _METHODS:
            if method in item:
                _leave_out(read, item[method])
                item[method]["x-codeSamples"] = _samples(read, method, path, item[method])
    _fold_errors(read)
    read["info"]["description"] += _ABOUT_SAMPLES
    read["tags"] = [tag for tag in read["tags"] if tag["name"] != "preflight"]
    scheme = read["components"]["securitySchemes"]["accessToken"]
    # The same header, in a form for which the page has one field and adds "Bearer".
    read["components"]["securitySchemes"]["accessToken"] = {
        "type": "http",
        "scheme": "bearer",
        "description": scheme["description"],
    }
    return read


def page() -> str:
    """Render the page."""
    document = contract()
    scalar, script = _scalar(), _SCRIPT.read_text(encoding="utf-8")
    return _TEMPLATE.format(
        title=html.escape(f"{document['info']['title']} API"),
        contract=_in_script(document),
        scalar=scalar,
        script=script,
        hashes=" ".join(_hash(each) for each in (scalar, script)),
    )


def _fold_errors(contract: dict[str, Any]) -> None:
    """Describe common errors once, in the introduction, and an operation's special ones with it."""
    operations = [
        item[method] for item in contract["paths"].values() for method in _METHODS if method in item
    ]
    meanings: dict[str, Counter[str]] = {}
    for operation in operations:
        for status, response in _errors(contract, operation):
            meanings.setdefault(status, Counter())[_sentence(response)] += 1
    usual = {status: counted.most_common(1)[0][0] for status, counted in sorted(meanings.items())}
    for operation in operations:
        found = _errors(contract, operation)
        if not found:
            continue
        own = [
            f"**{status}**: {_sentence(each)}" for status, each in found if _sentence(each) != usual[status]
        ]
        statuses = ", ".join(status for status, _ in found)
        text = f"A problem, with one of the [usual](#description/errors) statuses: {statuses}."
        operation["responses"] = {
            status: response for status, response in operation["responses"].items() if status < "400"
        }
        operation["responses"]["default"] = {
            "description": "\n\n".join([text, *own]),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    rows = "\n".join(f"| {status} | {meaning} |" for status, meaning in usual.items())
    contract["info"]["description"] += (
        "\n# Errors\n\nWhat a status means, unless an operation says otherwise:\n\n"
        f"| status | |\n|---|---|\n{rows}\n"
    )


def _errors(contract: dict[str, Any], operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (status, _resolved(contract, response))
        for status, response in operation["responses"].items()
        if status >= "400" and status != "default"
    ]


def _sentence(response: dict[str, Any]) -> str:
    return " ".join(response["description"].split())


def _leave_out(contract: dict[str, Any], operation: dict[str, Any]) -> None:
    """Omit optional fields from samples and requests; their examples stay visible."""
    parameters = [_resolved(contract, each) for each in operation.get("parameters", [])]
    for parameter in parameters:
        if not parameter.get("required"):
            schema = _resolved(contract, parameter["schema"])
            example = parameter.pop("example", schema.get("example", schema.get("default")))
            if example is not None:
                parameter["examples"] = {"default": {"value": example, "x-disabled": True}}
    if parameters:
        operation["parameters"] = parameters


def _samples(
    contract: dict[str, Any], method: str, path: str, operation: dict[str, Any]
) -> list[dict[str, str]]:
    """An operation's first example in curl and Python, with the token that `make token` prints."""
    for parameter in operation.get("parameters", []):
        if parameter.get("required"):
            schema = _resolved(contract, parameter["schema"])
            value = quote(str(parameter.get("example", schema.get("example"))), safe=":@")
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", value)
            else:
                path += f"{'&' if '?' in path else '?'}{parameter['name']}={value}"
    curl = [f'curl "{ADDRESS}{path}"', '-H "$TOKEN"']
    call = [f'"{ADDRESS}{path}"', "headers=headers"]
    body = _body(contract, operation)
    if body is not None:
        written = json.dumps(body, ensure_ascii=False, indent=2).replace("'", "'\\''")
        curl += ["-H 'Content-Type: application/json'", f"-d '{written}'"]
        call += [f"json={_in_python(body)}"]
    if method != ("get" if body is None else "post"):
        curl.insert(1, f"-X {method.upper()}")
    python = _PYTHON.format(method=method, call=textwrap.indent(",\n".join(call), "    "))
    return [
        {"lang": "Shell", "label": "curl", "source": " \\\n  ".join(curl)},
        {"lang": "Python", "label": "Python", "source": python},
    ]


_PYTHON = """\
import os
import requests

headers = dict([os.environ["TOKEN"].split(": ")])
answer = requests.{method}(
{call},
)
print(answer.status_code, answer.text)
"""


def _in_python(body: Any) -> str:
    """JSON as a Python literal."""
    names = {"true": "True", "false": "False", "null": "None"}
    written = json.dumps(body, ensure_ascii=False, indent=4)
    return re.sub(
        r"(?<=: )(true|false|null)(?=,?$)", lambda match: names[match[1]], written, flags=re.MULTILINE
    )


def _body(contract: dict[str, Any], operation: dict[str, Any]) -> Any:
    """The first example of an operation's body; None if it has no body."""
    media = _resolved(contract, operation.get("requestBody", {})).get("content", {}).get("application/json")
    if media is None:
        return None
    examples = [_resolved(contract, each)["value"] for each in media.get("examples", {}).values()]
    return examples[0] if examples else media["example"]


def _resolved(contract: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Resolve a reference in the contract."""
    found: Any = node
    if reference := node.get("$ref"):
        found = contract
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
    return dict(found)


def _for_readers(node: Any) -> Any:
    match node:
        case dict():
            read = {
                key: _for_readers(value)
                for key, value in node.items()
                if not str(key).startswith("x-amazon-") and not (key == "pattern" and isinstance(value, str))
            }
            words = IN_WORDS.get(node.get("pattern", "")) if isinstance(node.get("pattern"), str) else None
            if words and words not in read.get("description", ""):
                read["description"] = f"{read.get('description', '')} {words}".strip()
            if read.get("not") == {}:
                del read["not"]
            return read
        case list():
            return [_for_readers(each) for each in node]
    return node


def _scalar() -> str:
    (bundle,) = (ROOT / ".local/venv/docs").glob(f"lib/python*/site-packages/{_BUNDLE}")
    return bundle.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _in_script(value: Any) -> str:
    """JSON for a script element; "</" is escaped, since it could end the element."""
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
