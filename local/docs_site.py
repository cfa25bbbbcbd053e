"""The documentation's site: the repository's Markdown pages, built by MkDocs with its theme Material.

The pages are written for GitHub, where links may point to any file of the repository. So the site mirrors the
repository: pages and pictures keep their paths, and a file that a page links to becomes a separate page. The
navigation is generated from docs/README.md, in its order.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from local.engine import ROOT
from order_capture_ops.errors import CommandError

SITE = ROOT / ".local/docs"
SOURCE = ROOT / ".local/docs-source"
"""MkDocs's input: written from the repository for each build."""

_SCRIPTS = {
    "mermaid.js": "@mermaid-js/tiny/dist/mermaid.tiny.js",
    "iframe-worker.js": "iframe-worker/shim/index.js",
}
"""Files that the theme would load from another host: the site's copy, and its place in node_modules."""
API_PAGE = "api.html"

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
"""The pages outside docs/."""

_ASSETS = (".png", ".svg")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
_MAX_HIGHLIGHTED = 100_000  # bytes; highlighting more takes seconds
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}

_API_BUTTON = """
[Open the API's page](../../api.html){ .md-button }
Samples in curl and Python, and requests that you can send.
"""


class DocsError(CommandError):
    """The site could not be built; the message has MkDocs's output."""


def build(api_page: str, to: Path = SITE) -> None:
    """Build the site, including the API's page, and replace the existing one.

    Raises:
        DocsError: a link's target or heading, or a page's place in the navigation, is missing.
    """
    shutil.rmtree(SOURCE, ignore_errors=True)
    stage()
    (SOURCE / API_PAGE).write_text(api_page, encoding="utf-8")
    for name, path in _SCRIPTS.items():
        shutil.copyfile(ROOT / "console/node_modules" / path, SOURCE / name)
    config = SOURCE.with_suffix(".yml")
    new = to.with_name(f"{to.name}-new")
    config.write_text(
        yaml.safe_dump(
            {
                "INHERIT": os.path.relpath(ROOT / "mkdocs.yml", config.parent),
                "docs_dir": SOURCE.name,
                "site_dir": new.name,
                "nav": navigation(),
            }
        ),
        encoding="utf-8",
    )
    mkdocs = ROOT / ".local/venv/site/bin/mkdocs"
    # Hides the notice about the future of MkDocs, which decision 0163 covers.
    built = subprocess.run(
        [mkdocs, "build", "--strict", "--config-file", config],  # --quiet would ignore warnings
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        faults = [line for line in built.stderr.splitlines() if not line.startswith("INFO")]
        raise DocsError("\n".join(["The documentation has errors:", *faults]))
    shutil.rmtree(to, ignore_errors=True)
    new.rename(to)


def pages() -> Iterator[Path]:
    """The Markdown files of the site."""
    yield from (ROOT / name for name in TOP)
    yield from sorted((ROOT / "docs").rglob("*.md"))


def navigation() -> list[dict[str, Any]]:
    """The site's navigation: kinds and pages as in docs/README.md, decisions by part."""
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    kinds: dict[str, dict[str, list[dict[str, str]]]] = {}
    for purpose, kind, links in re.findall(r"^\| ([^|]+?) \| \*\*([\w-]+)\*\*: (.+) \|$", text, re.MULTILINE):
        kinds.setdefault(kind, {})[_capital(purpose)] = [
            {_capital(title): f"docs/{path}"} for title, path in re.findall(r"\[(.+?)\]\((.+?)\)", links)
        ]
    found: list[dict[str, Any]] = [{"Home": ["README.md", {"All pages": "docs/README.md"}]}]
    for kind, groups in kinds.items():
        only = next(iter(groups.values()))
        found.append({kind: only if len(groups) == 1 else [{name: pages} for name, pages in groups.items()]})
    found.append({"Decisions": ["docs/decisions/README.md", *_decisions()]})
    found.append({"Project": ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]})
    return found


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _decisions() -> Iterator[dict[str, list[str]]]:
    text = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        title, _, table = part.partition("\n")
        yield {
            title: [
                f"docs/decisions/{path}" for path in re.findall(r"^\| \[\d+\]\((.+?)\)", table, re.MULTILINE)
            ]
        }


def stage() -> None:
    """Write the site's Markdown, with links to the site's pages."""
    linked: set[Path] = set()
    own = set(pages())
    for page in own:
        text = with_links(_indented(page.read_text(encoding="utf-8")), page, own, linked.add)
        if page.name == "http.md":
            title, _, rest = text.partition("\n")
            text = f"{title}\n{_API_BUTTON}\n{rest}"
        _write(page, text)
    for path in linked:
        if path.suffix in _ASSETS:
            _write(path, path.read_bytes())
        elif path.is_dir():
            _write(path / "index.md", _folder(path))
        else:
            _write(path.with_name(f"{path.name}.md"), _file(path))


def _indented(text: str) -> str:
    """A page's text with numbered lists in the form that the site's Markdown requires.

    An item's content is indented by four spaces (GitHub needs three), and an empty line follows its
    paragraphs.
    """
    lines: list[str] = []
    in_item = False
    for line in text.splitlines(keepends=True):
        if re.match(r"\d+\. ", line):
            if in_item and lines[-1].startswith("    "):
                lines.append("\n")
            in_item = True
        elif line.strip() and not line.startswith("   "):
            in_item = False
        lines.append(f" {line}" if in_item and line.startswith("   ") else line)
    return "".join(lines)


def with_links(text: str, page: Path, own: Collection[Path], note: Callable[[Path], None]) -> str:
    """A page's text, with links to other files replaced by links to the pages made from them.

    Args:
        own: the Markdown pages.
        note: called with each file or folder that a link points to.
    """

    def moved(match: re.Match[str]) -> str:
        target = match[1]
        if re.match(r"[a-z]+:", target):
            return target
        path = (page.parent / target).resolve()
        if path in own or not path.exists():  # MkDocs reports missing files
            return target
        note(path)
        if path.suffix in _ASSETS:
            return target
        return f"{target.rstrip('/')}/index.md" if path.is_dir() else f"{target}.md"

    parts = _FENCE.split(text)
    return "".join(part if number % 2 else _LINK.sub(moved, part) for number, part in enumerate(parts))


_UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n"


def _file(path: Path) -> str:
    """A page with a file's text."""
    text = path.read_text(encoding="utf-8")
    language = _LANGUAGES.get(path.suffix, "text") if len(text) < _MAX_HIGHLIGHTED else "text"
    fence = "`" * 5
    return f"{_UNSEARCHED}# {path.relative_to(ROOT)}\n\n{fence}{language}\n{text}\n{fence}\n"


def _folder(path: Path) -> str:
    """A page with the names of a folder's files."""
    names = sorted(
        str(each.relative_to(path))
        for each in path.rglob("*")
        if each.is_file() and "__pycache__" not in each.parts
    )
    listed = "\n".join(f"- `{name}`" for name in names)
    return f"{_UNSEARCHED}# {path.relative_to(ROOT)}\n\n{listed}\n"


def _write(path: Path, content: str | bytes) -> None:
    to = SOURCE / path.relative_to(ROOT)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content.encode() if isinstance(content, str) else content)
