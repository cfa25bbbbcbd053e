"""The plots of a sale: orders decided and shipped, waiting messages, refused transactions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

from benchmarks.flash_sale.model import Sample

FOLDER = Path(__file__).resolve().parents[2] / "docs/explanation/hot-products"
MOST_POINTS = 80  # more can't be distinguished, and the file stays small
WIDTH, HEIGHT = 720, 300

Line = list[tuple[float, float]]


def draw(name: str, load: str, samples: Sequence[Sample], folder: Path = FOLDER) -> list[Path]:
    """Write a scenario's plots; returns their paths."""
    shown = thinned(samples)
    before = [shown[0], *shown[:-1]]
    refused: Line = []
    for sample, last in zip(shown, before, strict=True):
        asked = sample.transactions - last.transactions
        refused.append((sample.time, 100 * (sample.conflicts - last.conflicts) / asked if asked else 0.0))
    lines: dict[str, tuple[str, dict[str, Line]]] = {
        "orders": (
            "orders",
            {
                "decided": [(sample.time, sample.decided) for sample in shown],
                "shipped": [(sample.time, sample.shipped) for sample in shown],
            },
        ),
        "waiting": (
            "messages in the queues",
            {"visible or not": [(sample.time, sample.waiting) for sample in shown]},
        ),
        "conflicts": ("transactions refused, %", {"refused": refused}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for what, (title, of_one) in lines.items():
        path = folder / f"{name.lower()}-{what}.svg"
        path.write_bytes(chart(f"{name}: {load}", title, of_one))
        paths.append(path)
    return paths


def thinned(samples: Sequence[Sample]) -> list[Sample]:
    """At most the drawn number of samples, including the last."""
    step = -(-len(samples) // MOST_POINTS)
    return [*samples[:-1:step], samples[-1]]


def chart(title: str, y_title: str, lines: dict[str, Line], x_title: str = "seconds") -> bytes:
    """A line chart as SVG."""
    drawn = pygal.XY(
        include_x_axis=True,
        x_value_formatter=lambda value: f"{value:g}",
        **look(title, x_title, y_title, legend=len(lines) > 1),
    )
    for name, line in lines.items():
        drawn.add(name, line)
    return still(drawn)


def look(title: str, x_title: str, y_title: str, *, legend: bool) -> dict[str, Any]:
    """The style of all plots."""
    return {
        "title": title,
        "x_title": x_title,
        "y_title": y_title,
        "width": WIDTH,
        "height": HEIGHT,
        "show_dots": False,
        "show_legend": legend,
        "legend_at_bottom": True,
        "style": CleanStyle,
        "js": (),
        "no_prefix": True,  # the same figures give the same file
        "value_formatter": lambda value: f"{value:,.0f}",
    }


def still(drawn: pygal.graph.graph.Graph) -> bytes:
    """A chart as SVG, without the scripts that pygal adds: an image must not run code."""
    return re.sub(rb"<script.*?</script>", b"", drawn.render(), flags=re.DOTALL)
