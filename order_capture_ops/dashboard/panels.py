"""Parse the dashboard's body, as deployed from dashboard.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from order_capture.adapters.serializers import decimal_json
from order_capture_ops.errors import CommandError


class DashboardError(CommandError):
    """The stack has no dashboard, or it differs in form from dashboard.yaml."""


@dataclass(frozen=True)
class Metric:
    """A metric that a panel shows, or only calculates with if it has no label."""

    id: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    stat: str
    label: str
    visible: bool = True


@dataclass(frozen=True)
class Expression:
    """A panel's calculation or search over metrics: one line, or one per search result."""

    id: str
    text: str
    label: str
    """May contain `${PROP('Dim.reason')}`, for the value of a dimension."""


@dataclass(frozen=True)
class Panel:
    """A chart, of values over time."""

    title: str
    unit: str
    stat: str
    stacked: bool
    metrics: Sequence[Metric]
    expressions: Sequence[Expression]


@dataclass(frozen=True)
class Dashboard:
    """The charts in order, and the names of the alarms."""

    alarms: Sequence[str]
    panels: Sequence[Panel]


def parse(body: str) -> Dashboard:
    """Read a dashboard's body, in CloudWatch's own format.

    Raises:
        DashboardError: it differs in form from ours.
    """
    try:
        widgets = decimal_json.loads(body)["widgets"]
        alarms = [
            str(arn).rpartition(":alarm:")[2]
            for widget in widgets
            if widget["type"] == "alarm"
            for arn in widget["properties"]["alarms"]
        ]
        panels = [_panel(widget["properties"]) for widget in widgets if widget["type"] == "metric"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DashboardError(f"The dashboard can't be read: {type(error).__name__}: {error}") from error
    return Dashboard(alarms, panels)


def _panel(properties: Mapping[str, Any]) -> Panel:
    metrics, expressions = [], []
    for number, entry in enumerate(properties["metrics"], start=1):
        *names, options = entry if isinstance(entry[-1], dict) else [*entry, {}]
        identifier = options.get("id", f"m{number}")
        if "expression" in options:
            expressions.append(Expression(identifier, options["expression"], options["label"]))
            continue
        namespace, name, *dimensions = names
        if len(dimensions) % 2 or not all(isinstance(each, str) for each in names) or "." in names:
            raise ValueError(f"{entry} is not a namespace, a name, and dimensions with their values")
        visible = bool(options.get("visible", True))
        metrics.append(
            Metric(
                identifier,
                namespace,
                name,
                tuple(zip(dimensions[::2], dimensions[1::2], strict=True)),
                options.get("stat", properties["stat"]),
                options["label"] if visible else "",
                visible,
            )
        )
    return Panel(
        properties["title"],
        properties["yAxis"]["left"]["label"],
        properties["stat"],
        bool(properties["stacked"]),
        metrics,
        expressions,
    )
