"""The lines that no test runs, shown at the end of `make test`: a report, not a gate.

Measured are the suites that test the code in their own processes. The simulation and the benchmarks run it
thousands of times, so measuring them would be slow and find nothing new; an engine runs it in other
processes.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

REPORT = Path(".local/coverage/report.json")
SUITES = ("unit", "contract", "pipeline", "operations", "messages", "template")
FILES = 8  # files with the most lines that no test runs; the page has all


def table() -> Table | None:
    """The files with the most lines that no test runs; None if nothing was measured."""
    if not REPORT.is_file():
        return None
    measured = json.loads(REPORT.read_text(encoding="utf-8"))
    files = {name: file["missing_lines"] for name, file in measured["files"].items()}
    first = sorted((name for name in files if files[name]), key=lambda name: -len(files[name]))[:FILES]
    total = measured["totals"]
    shown = Table(
        title=f"Lines that no test reaches: {total['missing_lines']:,} of {total['num_statements']:,}"
        f" ({', '.join(SUITES)})",
        caption="Each line: .local/coverage/html/index.html",
        title_justify="left",
        caption_justify="left",
    )
    shown.add_column("file", overflow="fold", ratio=3)
    shown.add_column("lines", justify="right")
    shown.add_column("which", overflow="fold", ratio=2)
    for name in first:
        shown.add_row(name.removeprefix("layers/order_capture/"), str(len(files[name])), spans(files[name]))
    return shown


def spans(lines: list[int], most: int = 4) -> str:
    """These lines as ranges, the longest `most` of them: `3-7, 12, …`."""
    ranges: list[list[int]] = []
    for line in sorted(lines):
        if ranges and line - ranges[-1][-1] <= 2:  # one empty line or comment does not end a range
            ranges[-1].append(line)
        else:
            ranges.append([line])
    longest = sorted(sorted(ranges, key=len, reverse=True)[:most])
    text = ", ".join(f"{each[0]}-{each[-1]}" if len(each) > 1 else str(each[0]) for each in longest)
    return text + (", …" if len(ranges) > most else "")
