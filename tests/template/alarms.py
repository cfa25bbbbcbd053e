"""`make alarms`: docs/reference/alarms.md, the page of all alarms, from template.yaml and the runbook."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.support.template import ROOT, load_template

PAGE = ROOT / "docs/reference/alarms.md"
RUNBOOK = ROOT / "docs/how-to/runbook.md"

_KINDS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
_SIGNS = {"GreaterThanOrEqualToThreshold": "≥", "GreaterThanThreshold": ">"}
_HEAD = """\
# Alarms

Every alarm of [template.yaml](../../template.yaml), as `make alarms` reads it there. Those that **page** wake
somebody (`PageTopicArn`); the others wait for the morning (`AlarmTopicArn`), or roll a release back.
`make status` shows which are raised.

| alarm | means | raised when | what to do |
|---|---|---|---|
"""


def page() -> str:
    """The page's text. Alarms that differ only in their function share a row."""
    sections = _sections(RUNBOOK.read_text(encoding="utf-8"))
    rows = [
        (name, _row(name, each["Properties"], sections))
        for name, each in load_template()["Resources"].items()
        if each["Type"] in _KINDS
    ]
    lines = [
        f"| {', '.join(f'`{name}`' for name, _ in group)} | {' | '.join(cells)} |"
        for cells, group in ((cells, [*group]) for cells, group in groupby(rows, key=lambda row: row[1]))
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _row(name: str, alarm: dict[str, Any], sections: dict[str, str]) -> tuple[str, str, str]:
    """An alarm's meaning, its threshold, and its section of the runbook."""
    pages = {"Ref": "PageTopic"} in alarm.get("AlarmActions", [])
    title = sections[name]
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return (
        f"{'**pages**: ' if pages else ''}{alarm['AlarmDescription']}",
        _raised(alarm),
        f"[{title}](../how-to/runbook.md#{anchor})",
    )


def _raised(alarm: dict[str, Any]) -> str:
    if "AlarmRule" in alarm:
        names = re.findall(r"\w+Alarm", str(alarm["AlarmRule"]))
        return "any of " + ", ".join(f"`{name}`" for name in names)
    if "Metrics" in alarm:
        (shown,) = [each for each in alarm["Metrics"] if each.get("ReturnData") is not False]
        measured = str(shown.get("Label", shown["Id"]))
        period = next(each["MetricStat"]["Period"] for each in alarm["Metrics"] if "MetricStat" in each)
    else:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        measured = f"{statistic} of {alarm['Namespace']} `{alarm['MetricName']}`"
        period = alarm["Period"]
    threshold = alarm["Threshold"]
    limit = f"`{threshold['Ref']}`" if isinstance(threshold, dict) else str(threshold)
    return f"{measured} {_SIGNS[alarm['ComparisonOperator']]} {limit}, {_periods(alarm, period)}"


def _periods(alarm: dict[str, Any], seconds: int) -> str:
    number, needed = alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
    minutes = seconds // 60
    unit = "minute" if minutes == 1 else f"periods of {minutes} minutes"
    if number == 1:
        return f"in {'a minute' if minutes == 1 else f'{minutes} minutes'}"
    many = "minutes" if minutes == 1 else unit
    return f"for {number} {many}" if needed == number else f"in {needed} of {number} {many}"


def _sections(runbook: str) -> dict[str, str]:
    """The title of the runbook's section about each alarm: one that begins with it, or else names it."""
    sections = [section.partition("\n")[::2] for section in runbook.split("\n## ")[1:]]
    beginnings = [(title, text.strip().partition("\n\n")[0]) for title, text in sections]
    found: dict[str, str] = {}
    for title, text in (*beginnings, *sections):
        for name in re.findall(r"`(\w+Alarm)`", text):
            found.setdefault(name, title)
    return found


def main(to: Path = PAGE) -> int:
    """Write the page."""
    to.write_text(page(), encoding="utf-8")
    print(to.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
