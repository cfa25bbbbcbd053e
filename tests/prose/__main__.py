"""Lint what people read, in documentation and code: `python -m tests.prose [FILE …]`, part of `make check`.

textlint reads Markdown only, so it gets a page for each file, with the file's texts on their own lines. The
vocabulary is in vocabulary.yaml. An error names the file, the line, the fault and what to write.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.prose.texts import of_file

PAGES = Path(".local/cache/prose/pages")
CACHE = Path(".local/cache/prose/textlint.json")
CONFIGURATION = Path("tests/prose/textlint.yaml")

# Generated from linted texts, or records that must not be changed later.
UNREAD = (
    "schemas/",
    "asyncapi.yaml",
    "docs/contract-baseline.yaml",
    "docs/decisions/",
    "docs/reference/alarms.md",
)


def main(names: list[str]) -> int:
    """Print each fault as `path:line: what to write`.

    Returns:
        0 if there is none, 1 otherwise.
    """
    tracked = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    paths = [Path(name) for name in names or tracked.split("\0") if name and not name.startswith(UNREAD)]
    pages = {}
    for path in paths:
        if path.is_file() and (text := of_file(path)) is not None:
            page = PAGES / path.with_name(f"{path.name}.md")
            page.parent.mkdir(parents=True, exist_ok=True)
            if (
                not page.exists() or page.read_text(encoding="utf-8") != text
            ):  # textlint skips what has not changed
                page.write_text(text, encoding="utf-8")
            pages[str(page.resolve())] = path
    faults = 0
    for found in textlint(sorted(pages)):
        for message in found["messages"]:
            faults += 1
            words = " ".join(message["message"].split())
            print(f"{pages[found['filePath']]}:{message['line']}: {words}")
    return 1 if faults else 0


def textlint(pages: list[str]) -> list[dict[str, Any]]:
    """textlint's findings for these pages, as JSON.

    Raises:
        SystemExit: it did not run.
    """
    command = ["node", "node_modules/.bin/textlint", "--config", str(CONFIGURATION), "--format", "json"]
    command += ["--cache", "--cache-location", str(CACHE)]
    ran = subprocess.run([*command, *pages], capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(ran.stdout or "[]")
    except ValueError:
        found = []
    if ran.returncode not in (0, 1) or (ran.returncode == 1 and not found):
        sys.exit(f"textlint did not run: {ran.stderr.strip() or ran.stdout.strip()}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
