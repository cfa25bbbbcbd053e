"""The API's documentation, one HTML page that fetches nothing.

It is made from swagger.yaml and docs/reference/problems.md.

Redoc draws it in the browser. Its script and the contract are in the page itself, and the page's own content
security policy keeps it from asking anybody for anything. Where the engine serves it, it names the address at
which the API answers there, and shows for each operation how curl calls it. It sends
no requests itself: Redoc has no such thing.
"""

import argparse
import html
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from local.engine import ROOT
from local.engine_guard import API_PATH

PAGE = ROOT / ".local/docs/index.html"
"""Where `write` puts the page, and the engine's process (local/engine_process.py) finds it."""

_BUNDLE = "drf_spectacular_sidecar/static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"

# The bundle's only fetch: a logo beside the words "API docs by Redocly".
_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
_NO_IMAGE = "data:,"

# Redoc asks for two web fonts by name, which nothing here provides: the reader's own are as good.
_OPTIONS = {
    "expandResponses": "200,202",
    "hideDownloadButton": True,
    "theme": {
        "typography": {
            "fontFamily": "system-ui, sans-serif",
            "headings": {"fontFamily": "system-ui, sans-serif"},
            "code": {"fontFamily": "ui-monospace, monospace"},
        }
    },
}

_ADDRESS = "https://address-of-the-api.invalid"
"""A placeholder for the API's address, which the page replaces by its own origin."""

_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data:; worker-src blob:">
<title>{title}</title>
<style>body {{ margin: 0 }}</style>
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript. See swagger.yaml and docs/reference/problems.md.</noscript>
<script type="application/json" id="contract">{contract}</script>
<script>{redoc}</script>
<script>
const api = location.protocol === "file:" ? "$API" : location.origin + "{api_path}"
const contract = document.getElementById("contract").textContent.replaceAll("{address}", api)
Redoc.init(JSON.parse(contract), {options}, document.getElementById("page"))
</script>
</body>
</html>
"""


def contract() -> dict[str, Any]:
    """swagger.yaml as its readers need it: without what is for API Gateway only, with the problems' pages."""
    read: dict[str, Any] = _for_readers(yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8")))
    read["paths"] = {path: item for path, item in read["paths"].items() if item}  # no catch-all
    title, _, problems = (ROOT / "docs/reference/problems.md").read_text(encoding="utf-8").partition("\n")
    read["servers"] = [{"url": _ADDRESS}]
    for path, item in read["paths"].items():
        for method, operation in item.items():
            if method in ("get", "head", "post", "put", "patch", "delete", "options"):
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                source = _curl(read, method, path, parameters, operation)
                operation["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": source}]
    # A tag without operations, which Redoc shows as a chapter of its own, after the others.
    read["tags"].append({"name": title.removeprefix("# "), "description": problems, "x-traitTag": True})
    return read


def page() -> str:
    """The page."""
    document = contract()
    return _TEMPLATE.format(
        title=html.escape(document["info"]["title"]),
        # In a script, "</" could be the end of it.
        contract=json.dumps(document, ensure_ascii=False).replace("</", "<\\/"),
        redoc=_redoc().replace("</script", "<\\/script"),
        options=json.dumps(_OPTIONS),
        api_path=API_PATH,
        address=_ADDRESS,
    )


def write(to: Path = PAGE) -> None:
    """Write the page atomically."""
    to.parent.mkdir(parents=True, exist_ok=True)
    new = to.with_name(f"{to.name}.{os.getpid()}")
    new.write_text(page(), encoding="utf-8")
    new.replace(to)


def _curl(
    contract: dict[str, Any], method: str, path: str, parameters: list[Any], operation: dict[str, Any]
) -> str:
    """A curl command for an operation, with the contract's own examples."""
    query = []
    for parameter in (_resolved(contract, each) for each in parameters):
        name = parameter["name"]
        example = str(parameter.get("example", _resolved(contract, parameter["schema"]).get("example", "")))
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", example or f"<{name}>")
        elif parameter["in"] == "query" and parameter.get("required"):
            query.append(f"{name}={example or f'<{name}>'}")
    words = ["curl"] + (["-X", method.upper()] if method != "get" else [])
    if operation.get("security", contract.get("security")):
        words += ["-H", '"$TOKEN"']  # `make token` prints it, with its name
    lines = [" ".join([*words, f'"{_ADDRESS}{path}{"?" if query else ""}{"&".join(query)}"'])]
    body = _resolved(contract, operation.get("requestBody", {})).get("content", {}).get("application/json")
    if body:
        lines.append("-H 'Content-Type: application/json'")
        examples = [_resolved(contract, each)["value"] for each in body.get("examples", {}).values()]
        example = body.get(
            "example", examples[0] if examples else _resolved(contract, body["schema"]).get("example")
        )
        if example is not None:
            lines.append("-d '" + json.dumps(example, ensure_ascii=False).replace("'", "'\\''") + "'")
    return " \\\n    ".join(lines)


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
            return {
                key: _for_readers(value)
                for key, value in node.items()
                if not str(key).startswith("x-amazon-")
            }
        case list():
            return [_for_readers(each) for each in node]
    return node


def _redoc() -> str:
    (bundle,) = (ROOT / ".local/venv/docs").glob(f"lib/python*/site-packages/{_BUNDLE}")
    script = bundle.read_text(encoding="utf-8")
    if script.count(_LOGO) != 1:
        raise ValueError(
            f"Redoc's bundle has changed: it names {_LOGO} {script.count(_LOGO)} times, not once"
        )
    return script.replace(_LOGO, _NO_IMAGE)


def main() -> int:
    """`python -m local.docs`: write the page."""
    argparse.ArgumentParser(prog="make docs", description=__doc__).parse_args()
    write()
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
