"""The texts of a file as Markdown for textlint, each on its original line."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

MESSAGE_WORDS = 4  # a shorter string is more often a name or a value than a sentence
_DESCRIPTIONS = {"description", "Description", "summary", "title"}
_CODE = re.compile(
    r"^(>>>|\.\.\. |\$ )|[─═]{3}|={5}|-{5}|->|→"
)  # an example, a line above a section, a diagram
_ADDRESS = re.compile(r"(https?://|docs\.aws\.amazon\.com/)[^\s)>\"]+")
_IS_CODE = re.compile(
    r"^\s*(SET|SELECT|INSERT|UPDATE|CREATE|attribute_)\b|[{};]\s*$|=>|\S=\S+ AND ", re.MULTILINE
)
_DIRECTIVE = re.compile(r"#\s*(noqa|type:|pragma|nosec|checkov|cfn-lint|!)")

_END = "!"  # ends a text that the next line's does not continue; a full stop could be an abbreviation's

Text = tuple[int, str]
"""The first line of a text, from 1, and its lines."""


def of_file(path: Path) -> str | None:
    """The texts of a file as Markdown with the same line numbers; None for a kind without texts.

    Markdown is all text. Of Python these are the comments, docstrings and strings that are sentences; of YAML
    the comments and descriptions; of shell, make and TypeScript the comments, the help and what is shown.
    """
    kind = _KINDS.get(path.suffix or path.name)
    if kind is None:
        return None
    source = path.read_text(encoding="utf-8")
    if kind is _python and path.parts[0] == "tests":
        kind = _tests
    return source if kind is _markdown else _on_their_lines(kind(source), source.count("\n") + 1)


def _on_their_lines(texts: Iterator[Text], lines: int) -> str:
    page = [""] * (lines + 1)
    for first, text in texts:
        for number, line in enumerate(text.splitlines(), first):
            kept = _ADDRESS.sub("`x`", line.strip())
            page[number] = "" if _CODE.search(kept) else f"{page[number]} {kept}".strip()
    return "\n".join(page[1:]) + "\n"


def _python_comments(source: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not _DIRECTIVE.match(token.string):
            follows_code = token.line[: token.start[1]].strip()
            yield token.start[0], token.string.lstrip("#:") + (_END if follows_code else "")


def _python(source: str) -> Iterator[Text]:
    yield from _python_comments(source)
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "`x`" for part in node.values]
            yield from _sentence(node, "".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _sentence(node, node.value)
        else:
            nodes += ast.iter_child_nodes(node)


def _tests(source: str) -> Iterator[Text]:
    """Comments and docstrings: the other strings of a test are its data."""
    nodes = ast.walk(ast.parse(source))
    own = {
        node.value.lineno
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    comments = {number for number, _ in _python_comments(source)}
    yield from (text for text in _python(source) if text[0] in own | comments)


def _sentence(node: ast.expr, text: str) -> Iterator[Text]:
    """A docstring or a message. A part of an f-string has no separate line and is read with the whole."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    if len(words) >= MESSAGE_WORDS and re.match(r"[`A-Za-z(]", text.lstrip()) and not _IS_CODE.search(text):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        # A string in several literals has fewer line breaks than lines of source: one text, on its first.
        yield node.lineno, (text if text.count("\n") < lines else " ".join(text.split())) + _END


def _markdown(source: str) -> Iterator[Text]:
    yield 1, source


def _yaml(source: str) -> Iterator[Text]:
    yield from _comments(source, "#")
    pairs = [yaml.compose(source, Loader=yaml.CSafeLoader)]
    while pairs:
        node = pairs.pop()
        if isinstance(node, yaml.SequenceNode):
            pairs += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(value, yaml.ScalarNode) and key.value in _DESCRIPTIONS:
                    first, text = value.start_mark.line + 1, value.value
                    if value.style in ("|", ">"):
                        lines = source.splitlines()[first : value.end_mark.line]
                        indent = len(lines[0]) - len(lines[0].lstrip())
                        inside = [line for line in lines if not line.strip() or line.startswith(" " * indent)]
                        first, text = first + 1, "\n".join(inside)
                    yield first, text.rstrip() + _END
                else:
                    pairs.append(value)


def _makefile(source: str) -> Iterator[Text]:
    yield from _comments(source, "#")
    for number, line in enumerate(source.splitlines(), 1):
        if shown := re.match(r"[\w.-]+:.*?## ([^(]*)", line):  # without the options, which are a list
            yield number, shown[1]


def _shell(source: str) -> Iterator[Text]:
    yield from _comments(source, "#")


def _typescript(source: str) -> Iterator[Text]:
    for comment in re.finditer(r"/\*\*?(.*?)\*/", source, re.DOTALL):
        text = re.sub(r"(?m)^\s*\*", "", comment[1])
        yield source.count("\n", 0, comment.start()) + 1, text
    yield from _comments(source, "//")
    for number, line in enumerate(source.splitlines(), 1):
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|>\s*([A-Z][^<>{}]*)$', line):
            shown = re.sub(r"\$\{[^}]*\}", "`x`", "".join(text))
            if len(re.findall(r"[A-Za-z]{2,}", shown)) >= MESSAGE_WORDS and re.match(r"[`A-Z]", shown):
                yield number, shown


def _comments(source: str, mark: str) -> Iterator[Text]:
    """Comments on separate lines, or after code and two or more spaces."""
    for number, line in enumerate(source.splitlines(), 1):
        if _DIRECTIVE.match(line.strip()):
            continue
        if found := re.match(rf"\s*{mark}+\s(.*)", line):
            yield number, found[1]
        elif found := re.search(rf"\S\s+{mark}\s(.*)", line):
            yield number, found[1] + _END


_KINDS: dict[str, Callable[[str], Iterator[Text]]] = {
    ".md": _markdown,
    ".py": _python,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".sh": _shell,
    ".ts": _typescript,
    ".tsx": _typescript,
    "Makefile": _makefile,
}
