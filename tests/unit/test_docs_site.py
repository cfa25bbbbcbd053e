"""The documentation's site has every page, in the order of docs/README.md, with working links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import docs_site
from local.engine import ROOT

KINDS = ("tutorial", "how-to", "reference", "explanation")


def paths_in(navigation: Any) -> Iterator[str]:
    match navigation:
        case str():
            yield navigation
        case list():
            for each in navigation:
                yield from paths_in(each)
        case dict():
            for each in navigation.values():
                yield from paths_in(each)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(paths_in(docs_site.navigation()))
    pages = [str(page.relative_to(ROOT)) for page in docs_site.pages()]
    assert sorted(listed) == sorted(pages), "docs/README.md links to each page of docs/"


def test_the_kinds_come_in_the_order_of_who_learns_before_who_looks_up() -> None:
    names = [next(iter(section)) for section in docs_site.navigation()]
    assert names == ["Home", "Tutorial", "How-to", "Reference", "Explanation", "Decisions", "Project"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_listed_with_its_kind(kind: str) -> None:
    (section,) = [each for each in docs_site.navigation() if next(iter(each)).lower() == kind]
    listed = set(paths_in(section))
    assert listed == {str(page.relative_to(ROOT)) for page in (ROOT / "docs" / kind).glob("*.md")}


def test_a_link_to_a_file_leads_to_the_page_that_is_made_of_it(tmp_path: Path) -> None:
    page = ROOT / "docs/explanation/page.md"
    noted: list[Path] = []
    pages = {ROOT / "docs/explanation/cost.md", ROOT / "README.md"}
    written = (
        "[a](../../template.yaml) [b](../../tests/unit) ![c](hot-products/f3-orders.svg)\n"
        "[d](cost.md#sources) [e](https://example.com) [f](../../README.md) [g](#here) [h](gone.py)\n"
        "```sh\n[i](../../template.yaml)\n```\n"
    )
    text = docs_site.with_links(written, page, pages, noted.append)
    assert text == (
        "[a](../../template.yaml.md) [b](../../tests/unit/index.md) ![c](hot-products/f3-orders.svg)\n"
        "[d](cost.md#sources) [e](https://example.com) [f](../../README.md) [g](#here) [h](gone.py)\n"
        "```sh\n[i](../../template.yaml)\n```\n"
    )
    names = ["template.yaml", "tests/unit", "docs/explanation/hot-products/f3-orders.svg"]
    assert noted == [ROOT / name for name in names]
