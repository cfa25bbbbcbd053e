"""The comparison as six plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pygal

from benchmarks.compare.scenarios import Report
from benchmarks.flash_sale.plots import MOST_POINTS, chart, look, still

FOLDER = Path(__file__).resolve().parents[2] / "docs/explanation/comparison"

NAMES = {"with retries": "monolith, retries", "for the peak": "monolith for the peak"}

Points = Sequence[tuple[float, float]]


def draw(report: Report, folder: Path = FOLDER) -> list[Path]:
    """Write the plots; returns their paths."""
    figures = report.figures
    steady, cores = figures["steady"], figures["vertical"]
    rates = [f"{each['rate']:,}" for each in steady]
    both = ("serverless", "monolith")

    def milliseconds(design: str, figure: str) -> list[float | None]:
        values = [each[design].get(figure) for each in steady]
        return [None if value is None else 1000 * value for value in values]

    pictures = {
        "decision": _by_step(
            "A steady load: how long an order takes to be decided",
            *("orders a second", "ms"),
            rates,
            {
                f"{design}, {name}": milliseconds(design, f"decided_{name}")
                for design in both
                for name in ("p50", "p99")
            },
            [3, 10, 30, 100, 300, 1_000],
        ),
        "cost": _by_step(
            "A steady load: what a million orders cost",
            *("orders a second", "dollars"),
            rates,
            {design: [each[design]["dollars_per_million"] for each in steady] for design in both},
            [0.3, 1, 3, 10, 30, 100],
        ),
        "burst": _by_time(
            f"From {figures['burst']['base']} to {figures['burst']['peak']:,} orders/s", report, "burst"
        ),
        "hot": _by_time("One product: orders decided", report, "hot"),
        "credit": _by_time("The credit service is down for 5 minutes", report, "away"),
        "vertical": _by_step(
            "The monolith on larger machines",
            *("cores", "orders a second"),
            [str(each["cores"]) for each in cores],
            {
                "one machine": [each["one_machine"] for each in cores],
                "a database of its own": [each["own_database"] for each in cores],
                "one machine, one product": [each["one_machine_hot"] for each in cores],
            },
            [300, 1_000, 3_000, 10_000, 30_000, 100_000],
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in pictures.items():
        path = folder / f"{name}.svg"
        path.write_bytes(picture)
        paths.append(path)
    return paths


def _by_time(title: str, report: Report, scenario: str) -> bytes:
    lines: Mapping[str, Points] = report.timelines[scenario]
    return chart(
        title, "orders decided", {NAMES.get(name, name): thinned(line) for name, line in lines.items()}
    )


def _by_step(
    title: str,
    x_title: str,
    y_title: str,
    steps: list[str],
    lines: Mapping[str, list[Any]],
    labels: list[float],
) -> bytes:
    """A plot with logarithmic axes, for steps that are powers; `labels` are the labelled values."""
    of_all = look(title, x_title, y_title, legend=True)
    of_all |= {"show_dots": True, "dots_size": 2, "value_formatter": lambda value: f"{value:,g}"}
    drawn = pygal.Line(x_labels=steps, y_labels=labels, logarithmic=True, **of_all)
    for name, line in lines.items():
        drawn.add(name, line)
    return still(drawn)


def thinned(line: Points) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` of the points, including the last."""
    step = -(-len(line) // MOST_POINTS)
    return [*line[:-1:step], line[-1]] if line else []
