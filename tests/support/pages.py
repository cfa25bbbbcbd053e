"""The pages of the documentation, and the commands that they show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Decisions and the changelog describe the past: what they name may no longer exist.
PRESENT = [page for page in PAGES if page not in DECISIONS and page.name != "CHANGELOG.md"]


def text_of(page: Path) -> str:
    """The source of a page."""
    return page.read_text(encoding="utf-8")


def make_commands(page: Path) -> list[str]:
    """Every `make …` of a page, without that word: in backticks, on a line of code, or in parentheses."""
    return re.findall(r"(?:`|^ *|\()make ((?:-s )?[a-z][^`\n)]*)", text_of(page), re.MULTILINE)


OPERATED = {
    "audit",
    "check-reports",
    "clients",
    "close-books",
    "erase-customer",
    "export-customer",
    "logs",
    "rebuild-history",
    "rebuild-reports",
    "reconcile",
    "redrive",
    "republish",
    "republish-events",
    "status",
    "stuck",
    "watch",
}
"""The operators' commands that take a stack and end by themselves: tests/deployed runs them as shown."""
