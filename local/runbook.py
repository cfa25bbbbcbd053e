"""Find the runbook's section for an alarm, and check its instructions."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from local.engine import ROOT

PAGE = ROOT / "docs/how-to/runbook.md"

_COMMAND = re.compile(r"(?:`|^ {4,})(make [a-z][^`\n]*)", re.MULTILINE)
_PAGE = re.compile(r"\]\(([\w-]+\.md)\)")


@dataclass(frozen=True)
class Section:
    """A section of the runbook, with the runbook's introduction and the pages that it links."""

    title: str
    text: str

    def names(self, instruction: str) -> bool:
        """Whether it has this instruction.

        A `make` command matches one with the same variables, whatever their values. Other text must match
        word for word.
        """
        if instruction.startswith("make "):
            return _shape(instruction) in map(_shape, _COMMAND.findall(self.text))
        return " ".join(instruction.split()) in " ".join(self.text.split())


def find_section(named: str, text: str | None = None) -> Section | None:
    """The section with this title, or for this alarm: one that begins with it, or else mentions it."""
    text = PAGE.read_text(encoding="utf-8") if text is None else text
    start, *parts = text.split("\n## ")
    sections = [(title, body.strip()) for title, _, body in (part.partition("\n") for part in parts)]
    beginnings = [(title, body.partition("\n\n")[0]) for title, body in sections]
    for title, where in [(title, title) for title, _ in sections] + beginnings + sections:
        if where == named or f"`{named}`" in where:
            body = dict(sections)[title]
            linked = [(PAGE.parent / name).read_text(encoding="utf-8") for name in _PAGE.findall(body)]
            return Section(title, "\n".join([start, body, *linked]))
    return None


def _shape(command: str) -> tuple[str, frozenset[str]]:
    """A command's name, and the names of its variables."""
    _, name, *rest = shlex.split(command, comments=True)
    return name, frozenset(each.partition("=")[0] for each in rest)
