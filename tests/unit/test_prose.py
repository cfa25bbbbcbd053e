"""Texts are extracted from every kind of file, on their own lines, and linted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prose import __main__ as prose
from tests.prose.texts import of_file

PYTHON = '''"""Reads orders.

Raises:
    KeyError: there is none.
"""

LIMIT = 3  # of all attempts

# A reason that
# takes two lines.
raise ValueError(f"the order {order} is not there", "short")
'''


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def texts(path: Path) -> dict[int, str]:
    """The lines that have text, by their numbers."""
    page = of_file(path)
    assert page is not None
    return {number: line for number, line in enumerate(page.splitlines(), 1) if line}


def test_of_python_it_is_docstrings_comments_and_messages_each_on_its_line(tmp_path: Path) -> None:
    assert texts(written(tmp_path, "code.py", PYTHON)) == {
        1: "Reads orders.",
        3: "Raises:",
        4: "KeyError: there is none.",
        5: "!",
        7: "of all attempts!",
        9: "A reason that",
        10: "takes two lines.",
        11: "the order `x` is not there!",
    }


def test_of_a_test_it_is_docstrings_and_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "tests/test_code.py", PYTHON)

    found = texts(Path("tests/test_code.py"))

    assert found[1] == "Reads orders."
    assert 11 not in found


def test_of_yaml_it_is_comments_and_descriptions(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "template.yaml",
        "# A comment.\nName: not a text\nDescription: >-\n  Two lines\n  of text\nOther: {title: one line}\n",
    )

    assert texts(path) == {1: "A comment.", 4: "Two lines", 5: "of text!", 6: "one line!"}


def test_of_make_it_is_comments_and_the_help_without_its_options(tmp_path: Path) -> None:
    path = written(tmp_path, "Makefile", "# A comment.\nrun: setup ## start it (PORT=4566)\n\t@echo run\n")

    assert texts(path) == {1: "A comment.", 2: "start it"}


def test_of_typescript_it_is_comments_and_what_is_shown(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "page.tsx",
        '/** What it is. */\nconst a = "an-id"; // of the page\nshow(`There is no order ${id} yet`);\n',
    )

    assert texts(path) == {1: "What it is.", 2: "of the page!", 3: "There is no order `x` yet"}


def test_a_diagram_and_an_example_are_not_prose(tmp_path: Path) -> None:
    assert (
        texts(written(tmp_path, "c.py", '# API -> queue\n# ======\n"""\n>>> one or two or three\n"""\n'))
        == {}
    )


def test_a_file_of_another_kind_has_no_text(tmp_path: Path) -> None:
    assert of_file(written(tmp_path, "data.json", "{}")) is None


FAULTS = {
    "Whoever is told first wins.": "publish, notify, say or know",
    "What is set aside is not lost.": "dead-letter",
    "This is a word. " + "and one more " * 30: "exceeds the maximum sentence length of 200",
    "It is on Github.": "GitHub",
    "You will recieve it.": "receive",
}


def test_each_fault_is_named_with_its_line_and_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n\n".join(["# Title", *FAULTS, "The order is shipped."])
    path = written(prose.PAGES.parent / "test", f"{tmp_path.name}.md", text)
    try:
        assert prose.main([str(path)]) == 1
    finally:
        path.unlink()

    printed = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in printed] == [
        f"{path}:{3 + 2 * row}" for row in range(len(FAULTS))
    ]
    assert all(message in line for message, line in zip(FAULTS.values(), printed, strict=True))
