"""The report of a run as one self-contained HTML file with plots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pygal
from pygal.style import CleanStyle

from benchmarks.load.audit import Kind
from benchmarks.load.report import PERCENTILES, Latency, Report, facts, percentile

_MAX_POINTS = 120  # more can't be distinguished
_WIDTH, _HEIGHT = 900, 320

Point = tuple[float, float]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Load on {target}</title>
<style>
  body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; }}
  table {{ border-collapse: collapse; }}
  th, td {{ padding: .2rem .9rem; text-align: right; border-bottom: 1px solid #ddd; }}
  th:first-child, td:first-child {{ text-align: left; }}
  .bad {{ color: #b00020; }} .good {{ color: #1b6e3c; }}
  dt {{ float: left; }} dd {{ margin-left: 7rem; }}
  svg {{ width: 100%; height: auto; }}
</style>
<h1>Load on {target}</h1>
<p class="{verdict}">{counts}</p>
<table>
<tr><th>mix</th><th>requests</th><th>accepted</th>
<th>answer, ms<br>p50 / p95 / p99</th><th>decided, ms<br>p50 / p95 / p99</th></tr>
{rows}
</table>
<dl>
{facts}
</dl>
{faults}
{plots}
<p>Answer: from the request to its answer. Decided: from the request to the order's final status.</p>
{locust}
</html>
"""


def write(report: Report, path: Path, locust: Path | None) -> None:
    """Write the report.

    Args:
        report: the report.
        path: the file.
        locust: Locust's own report in the same folder, to link to; None without one.
    """
    rows = [(name, mix.requests, mix.accepted, mix.answer, mix.decided) for name, mix in report.mixes.items()]
    rows.append(("all", report.requests, report.accepted, report.answer, report.decided))
    counts = ", ".join(f"{report.counts[kind]:,} {kind}" for kind in Kind)
    faults = "".join(
        f"<li><b>{fault.kind}</b> {escape(fault.subject)}: {escape(fault.what)}</li>"
        for fault in report.faults
    )
    path.write_text(
        _PAGE.format(
            target=escape(report.target),
            verdict="good" if report.is_right else "bad",
            counts=counts,
            rows="\n".join(_row(*row) for row in rows),
            facts="\n".join(f"<dt>{escape(name)}<dd>{escape(text)}" for name, text in facts(report)),
            faults=f"<ul>{faults}</ul>" if faults else "",
            plots="\n".join(plots(report)),
            locust=f'<p><a href="{escape(locust.name)}">Locust\'s own report</a></p>' if locust else "",
        ),
        encoding="utf-8",
    )


def plots(report: Report) -> list[str]:
    """The plots, as SVG elements."""
    charts = [
        _lines(
            "Orders over time",
            ("seconds", "number"),
            {"requests answered": _rising(report.answered), "orders ended": _rising(report.ended)},
        ),
        _lines(
            "How many took how long at most",
            ("milliseconds", "percent"),
            {
                "answer": _cumulative([seconds for _, seconds in report.answered]),
                "decided": _cumulative([seconds for _, seconds in report.ended]),
            },
        ),
        _bars("Answer, ms", {name: mix.answer for name, mix in report.mixes.items()}),
        _bars("Decided, ms", {name: mix.decided for name, mix in report.mixes.items()}),
    ]
    return [chart for chart in charts if chart]


def _row(name: str, requests: int, accepted: int, answer: Latency, decided: Latency) -> str:
    cells = (escape(name), f"{requests:,}", f"{accepted:,}", _three(answer), _three(decided))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _three(latency: Latency) -> str:
    values = (latency.p50, latency.p95, latency.p99)
    return " / ".join("–" if value is None else f"{value:,.0f}" for value in values)


def _rising(times: Sequence[Point]) -> list[Point]:
    return _thinned([(time, number) for number, (time, _) in enumerate(times, 1)])


def _cumulative(seconds: Sequence[float]) -> list[Point]:
    """Up to the 99th percentile: outliers would compress everything else against the axis."""
    found = sorted(seconds)
    most = percentile(found, 99) or 0.0
    return _thinned(
        [(value * 1000, 100 * number / len(found)) for number, value in enumerate(found, 1) if value <= most]
    )


def _thinned(points: list[Point]) -> list[Point]:
    step = -(-len(points) // _MAX_POINTS) or 1
    return [*points[:-1:step], *points[-1:]]


def _lines(title: str, axes: tuple[str, str], lines: dict[str, list[Point]]) -> str:
    if not any(lines.values()):
        return ""
    chart = pygal.XY(
        title=title,
        x_title=axes[0],
        y_title=axes[1],
        show_dots=False,
        value_formatter=lambda value: f"{value:,.0f}",
        x_value_formatter=lambda value: f"{value:,g}",
        **_COMMON,
    )
    for name, line in lines.items():
        chart.add(name, line)
    return _svg(chart)


def _bars(title: str, by_mix: dict[str, Latency]) -> str:
    if not any(latency.p50 is not None for latency in by_mix.values()):
        return ""
    chart = pygal.Bar(title=title, value_formatter=lambda value: f"{value:,.0f} ms", **_COMMON)
    chart.x_labels = list(by_mix)
    for number in PERCENTILES:
        chart.add(f"p{number}", [getattr(latency, f"p{number}") for latency in by_mix.values()])
    return _svg(chart)


_COMMON = {
    "width": _WIDTH,
    "height": _HEIGHT,
    "legend_at_bottom": True,
    "style": CleanStyle,
    "js": (),
    "disable_xml_declaration": True,
    "include_x_axis": True,
}


def _svg(chart: pygal.graph.graph.Graph) -> str:
    # Interactive pygal plots would load a script from another host.
    return re.sub(r"<script.*?</script>", "", chart.render(is_unicode=True), flags=re.DOTALL)
