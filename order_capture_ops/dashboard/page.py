"""Render the dashboard as one self-contained page: alarms, and a chart and figures for each panel."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pygal
from pygal.style import Style

from order_capture_ops.cli import age
from order_capture_ops.dashboard.sources import Line, PanelData, Span

_WIDTH, _HEIGHT = 520, 210
_COLORS = (
    *("#1f77b4", "#d95f02", "#2a9d5c", "#c2408a", "#7b62c9", "#b8860b", "#17a2b8", "#8c564b"),
    *("#e4572e", "#6b7280", "#3b5bdb", "#a0b015", "#0b7285", "#ad1457", "#5d4037", "#9c36b5"),
)
_ROWS = 8  # of figures in one column; more are set in two columns
_GREY = "#80868b"  # readable on white and on black
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground=_GREY,
    foreground_strong=_GREY,
    foreground_subtle=_GREY,
    guide_stroke_color="#80868b55",
    major_guide_stroke_color="#80868b88",
    colors=_COLORS,
    opacity=".8",
    label_font_size=11,
    major_label_font_size=11,
    font_family="system-ui, sans-serif",
)
_CSS = """
:root { color-scheme: light dark; --edge: #80868b55; --soft: #80868b; --bad: #d93025; --good: #1e8e3e; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.25rem; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 .25rem; } p { margin: .25rem 0; }
.soft { color: var(--soft); } main { display: grid; gap: .75rem; margin-top: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
ul { margin: .25rem 0; padding-left: 1.25rem; }
section { border: 1px solid var(--edge); border-radius: .5rem; padding: .75rem; min-width: 0; }
svg { width: 100%; height: auto; display: block; }
.figures { list-style: none; padding: 0; font-variant-numeric: tabular-nums; }
.figures li { display: flex; justify-content: space-between; gap: .5rem; break-inside: avoid; }
.figures span { overflow-wrap: anywhere; } .figures b { font-weight: normal; white-space: nowrap; }
.many { columns: 2; column-gap: 1rem; font-size: .8rem; }
i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .4rem; }
.alarms span { display: inline-block; border: 1px solid var(--edge); border-radius: 1rem;
  padding: 0 .6rem; margin: .15rem .2rem 0 0; }
.alarms .ALARM { border-color: var(--bad); color: var(--bad); font-weight: 600; }
.alarms .OK { border-color: var(--good); color: var(--good); }
"""


@dataclass(frozen=True)
class AlarmState:
    """An alarm of the dashboard."""

    name: str
    state: str
    """OK, ALARM or INSUFFICIENT_DATA."""


def render(
    stack: str, where: str, span: Span, alarms: Sequence[AlarmState], panels: Sequence[PanelData]
) -> str:
    """Render the page.

    Args:
        stack: the stack's name.
        where: the region and account, or the local engine.
        span: the time shown.
        alarms: the alarms that the dashboard shows.
        panels: the data of each panel.
    """
    end = datetime.fromtimestamp(span.end, UTC)
    start = datetime.fromtimestamp(span.start, UTC)
    sections = "\n".join(_section(panel, span) for panel in panels if panel.lines or not panel.absent)
    elsewhere = [panel.panel.title for panel in panels if panel.absent and not panel.lines]
    if elsewhere:
        items = "".join(f"<li>{html.escape(title)}</li>" for title in elsewhere)
        sections += f"\n<section><h2>Measured on AWS only</h2><ul>{items}</ul></section>"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(stack)}: dashboard</title>
<style>{_CSS}</style>
<h1>{html.escape(stack)}</h1>
<p class="soft">{html.escape(where)} · {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC ·
a value every {age(span.period)}</p>
<p class="alarms">{"".join(_alarms(alarms))}</p>
<main>
{sections}
</main>
</html>
"""


def write(page: str, to: Path) -> None:
    """Write the page atomically: a reader sees either the old page or the new one.

    Raises:
        OSError: it can't be written there.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    new = to.with_name(f"{to.name}.{os.getpid()}")
    try:
        new.write_text(page, encoding="utf-8")
        new.replace(to)
    finally:
        new.unlink(missing_ok=True)


def _alarms(alarms: Sequence[AlarmState]) -> Iterator[str]:
    words = {"OK": "ok", "ALARM": "ALARM", "INSUFFICIENT_DATA": "no data"}
    for alarm in sorted(alarms, key=lambda each: each.state != "ALARM"):
        state = alarm.state if alarm.state in words else ""
        yield (
            f'<span class="{state}">{html.escape(alarm.name)}: '
            f"{html.escape(words.get(alarm.state, alarm.state))}</span>"
        )


def _section(data: PanelData, span: Span) -> str:
    # Lines without events become one sentence, not twenty lines of zeros.
    shown = [line for line in data.lines if any(line.points.values())]
    quiet = [line for line in data.lines if line not in shown]
    chart = ""
    over_time = [line for line in shown if not line.is_now]
    if over_time:
        chart = _chart(over_time, data.panel.unit, data.panel.stacked, span)
    notes = []
    if not shown and quiet:
        notes.append("Nothing." if len(quiet) > 1 else f"Nothing: {quiet[0].label}.")
    elif quiet:
        notes.append(f"None of: {', '.join(line.label for line in quiet)}.")
    if data.absent:
        notes.append(f"On AWS only: {', '.join(data.absent)}.")
    return "\n".join(
        [
            f"<section><h2>{html.escape(data.panel.title)}</h2>",
            chart,
            _figures(shown, data.panel.unit),
            *(f'<p class="soft">{html.escape(note)}</p>' for note in notes),
            "</section>",
        ]
    )


def _chart(lines: Sequence[Line], unit: str, stacked: bool, span: Span) -> str:
    periods = span.periods
    chart = (pygal.StackedLine if stacked else pygal.Line)(
        y_title=unit,
        width=_WIDTH,
        height=_HEIGHT,
        fill=stacked,
        style=_STYLE,
        show_legend=False,
        margin=2,
        margin_top=8,
        margin_right=24,
        # A value between two gaps is drawn as a dot, not as a line.
        show_dots=not all(line.adds_up or stacked for line in lines),
        dots_size=1.5,
        stroke_style={"width": 1.5},
        allow_interruptions=True,
        include_x_axis=True,
        min_scale=2,
        max_scale=5,
        truncate_label=-1,
        show_minor_x_labels=False,
        x_labels_major_count=5,
        js=(),
        no_prefix=True,
        disable_xml_declaration=True,
        value_formatter=_number,
    )
    clock = "%H:%M:%S" if span.period < 60 else "%H:%M" if span.duration <= 24 * 3600 else "%m-%d %H:%M"
    chart.x_labels = [f"{datetime.fromtimestamp(period, UTC):{clock}}" for period in periods]
    for line in lines:
        missing = 0 if line.adds_up or stacked else None
        chart.add(line.label, [line.points.get(period, missing) for period in periods])
    # The page runs no script, so pygal's interactive parts are off.
    return re.sub(r"<script.*?</script>", "", chart.render(is_unicode=True), flags=re.DOTALL)


def _figures(lines: Sequence[Line], unit: str) -> str:
    """A row for each line, with its color in the chart, and the sum or maximum of its values."""
    if not lines:
        return ""
    over_time = [line for line in lines if not line.is_now]
    meanings = {"now" if line.is_now else "in all" if line.adds_up else "at most" for line in lines}
    rows = []
    for line in lines:
        values = [*line.points.values()]
        value = _number(sum(values) if line.adds_up and not line.is_now else max(values))
        if len(meanings) > 1:
            value += " in all" if line.adds_up else " at most"
        color = "transparent" if line.is_now else _COLORS[over_time.index(line) % len(_COLORS)]
        rows.append(
            f'<li><span><i style="background:{color}"></i>{html.escape(line.label)}</span><b>{value}</b></li>'
        )
    many = " many" if len(rows) > _ROWS else ""
    caption = f"{unit}, {meanings.pop()}" if len(meanings) == 1 else unit
    return f'<p class="soft">{html.escape(caption)}</p><ul class="figures{many}">{"".join(rows)}</ul>'


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.3g}"
