"""Where a panel's values come from: CloudWatch, or the local engine's substitutes.

The local engine does not process embedded metrics, so they are read here from the functions' logs, as are
Lambda's calls, from its REPORT lines. SQS gives the current number of waiting messages. Other metrics do not
exist there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from order_capture.adapters.operations.function_logs import FunctionLog, LogLine
from order_capture.application.channels import resource_name
from order_capture_ops.dashboard.metric_math import Context, Series, evaluate
from order_capture_ops.dashboard.panels import DashboardError, Expression, Metric, Panel
from order_capture_ops.dashboard.statistics import statistic
from order_capture_ops.logs import functions_of
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Stack

MOST_POINTS = 120
"""Points of one line: more could not be distinguished."""
_PERIODS = (1, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)  # seconds, all that CloudWatch accepts
CLOUDWATCH_PERIOD = 60  # the shortest period of AWS's own metrics

_SEARCHED = re.compile(r"\{([^,}]+),([^}]+)\}(.*)", re.DOTALL)
_TERM = re.compile(r'(\w+)="([^"]*)"')
_PROPERTY = re.compile(r"\$\{PROP\('Dim\.(\w+)'\)\}")
# Lambda's last line of a call: https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
_REPORT = re.compile(r"REPORT RequestId: \S+\s+Duration: ([\d.]+) ms\b")
_LAMBDA = {"Invocations", "Duration"}  # the only ones that the engine logs
_SQS = {
    "ApproximateNumberOfMessagesVisible": "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible": "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed": "ApproximateNumberOfMessagesDelayed",
}


@dataclass(frozen=True)
class Span:
    """A span of time, in equal periods. Times are seconds since the epoch."""

    start: float
    end: float
    period: int

    @classmethod
    def between(cls, start: datetime, end: datetime, shortest: int) -> Span:
        """The whole periods that cover the span, as short as possible but at least `shortest`."""
        seconds = (end - start).total_seconds()
        period = next(
            (each for each in _PERIODS if each >= shortest and seconds / each <= MOST_POINTS), _PERIODS[-1]
        )
        first = start.timestamp() // period * period
        last = -(-end.timestamp() // period) * period
        return cls(first, max(last, first + period), period)

    @property
    def periods(self) -> list[float]:
        """The start of each period."""
        return [self.start + self.period * number for number in range(round(self.duration / self.period))]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Line:
    """A line of a chart."""

    label: str
    points: Series
    adds_up: bool = False
    """Whether its values are counts: then a period without a value counts as 0."""
    is_now: bool = False
    """Whether its only value is the current one."""


@dataclass(frozen=True)
class PanelData:
    """The data of a panel."""

    panel: Panel
    lines: Sequence[Line]
    absent: Sequence[str] = ()
    """The labels of metrics that are not measured where the stack is."""


class MetricSource(Protocol):
    """Reads the values of panels."""

    def read(self, panel: Panel, span: Span) -> PanelData:
        """All lines of a panel."""
        ...


class CloudWatchMetrics:
    """On AWS, where CloudWatch also does the calculations."""

    def __init__(self, stack: Stack) -> None:
        self._cloudwatch = stack.client("cloudwatch")

    def read(self, panel: Panel, span: Span) -> PanelData:
        """All lines of a panel.

        Raises:
            DashboardError: CloudWatch can't evaluate one of its expressions.
        """
        lines: dict[tuple[str, str], Series] = defaultdict(dict)
        pages = self._cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[
                *(_metric_query(metric, span.period) for metric in panel.metrics),
                *(_expression_query(each, span.period) for each in panel.expressions),
            ],
            StartTime=datetime.fromtimestamp(span.start, UTC),
            EndTime=datetime.fromtimestamp(span.end, UTC),
            ScanBy="TimestampAscending",
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                if result.get("StatusCode") in ("InternalError", "Forbidden"):
                    what = "; ".join(each["Value"] for each in result.get("Messages", []))
                    raise DashboardError(f"CloudWatch can't show {panel.title!r}: {what or result['Id']}")
                points = zip(result["Timestamps"], result["Values"], strict=True)
                lines[result["Id"], result["Label"]] |= {time.timestamp(): value for time, value in points}
        stats = {metric.id: metric.stat for metric in panel.metrics}
        return PanelData(
            panel,
            [
                Line(label, points, stats.get(identifier, panel.stat) == "Sum")
                for (identifier, label), points in lines.items()
            ],
        )


def _metric_query(metric: Metric, period: int) -> dict[str, Any]:
    named = {
        "Namespace": metric.namespace,
        "MetricName": metric.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
    }
    query = {
        "Id": metric.id,
        "MetricStat": {"Metric": named, "Period": period, "Stat": metric.stat},
        "ReturnData": metric.visible,
    }
    return query | ({"Label": metric.label} if metric.label else {})


def _expression_query(expression: Expression, period: int) -> dict[str, Any]:
    # A search contains its period.
    text = re.sub(r", \d+\)", f", {period})", expression.text)
    return {"Id": expression.id, "Expression": text, "Label": expression.label, "Period": period}


@dataclass(frozen=True)
class _Measurement:
    """Values of one metric that a function logged at one time."""

    time: float
    name: str
    namespace: str
    dimensions: frozenset[tuple[str, str]]
    values: tuple[float, ...]


@dataclass
class LocalMetrics:
    """On the local engine."""

    stack: Stack
    span: Span
    on_progress: ProgressCallback = lambda *_: None
    _logged: list[_Measurement] | None = field(default=None, init=False)

    def read(self, panel: Panel, span: Span) -> PanelData:
        """All lines of a panel."""
        lines, absent = [], []
        known = {metric.id: self._series(metric, span) for metric in panel.metrics}
        for metric in panel.metrics:
            series = known[metric.id]
            if series is None:
                absent += [metric.label] if metric.visible else []
            elif metric.visible:
                is_now = metric.namespace == "AWS/SQS"
                lines.append(Line(metric.label, series, metric.stat == "Sum", is_now))
        for expression in panel.expressions:
            needed = [id_ for id_ in known if re.search(rf"\b{id_}\b", expression.text)]
            if any(known[id_] is None for id_ in needed):
                absent.append(expression.label)
            else:
                lines += self._calculated(
                    panel, expression, {name: series or {} for name, series in known.items()}, span
                )
        return PanelData(panel, lines, absent)

    def _calculated(
        self, panel: Panel, expression: Expression, metrics: Mapping[str, Series], span: Span
    ) -> Iterable[Line]:
        found: list[Mapping[str, str]] = []

        def search(text: str, stat: str) -> list[Series]:
            by_dimensions = self._search(text, stat, span)
            found[:] = [dict(dimensions) for dimensions in by_dimensions]
            return [*by_dimensions.values()]

        value = evaluate(expression.text, Context(span.periods, span.period, metrics, search=search))
        adds_up = panel.stat == "Sum"
        if isinstance(value, list):
            for dimensions, series in zip(found, value, strict=True):
                label = _PROPERTY.sub(
                    lambda match, of=dimensions: of.get(match[1], "?"),  # type: ignore[misc]
                    expression.label,
                )
                yield Line(label, series, adds_up)
        else:
            series = dict.fromkeys(span.periods, value) if isinstance(value, float) else value
            yield Line(expression.label, series, adds_up)

    def _search(self, text: str, stat: str, span: Span) -> dict[tuple[tuple[str, str], ...], Series]:
        match = _SEARCHED.fullmatch(text.strip())
        if not match:
            raise DashboardError(f"Unsupported search expression: {text}")
        namespace, names, terms = match[1], set(match[2].split(",")), dict(_TERM.findall(match[3]))
        metric = terms.pop("MetricName", None)
        found: dict[tuple[tuple[str, str], ...], list[_Measurement]] = defaultdict(list)
        for each in self._measurements():
            dimensions = dict(each.dimensions)
            if (
                (each.namespace, each.name) == (namespace, metric)
                and dimensions.keys() == names
                and terms.items() <= dimensions.items()
            ):
                found[tuple(sorted(dimensions.items()))].append(each)
        return {key: _aggregated(found[key], stat, span) for key in sorted(found)}

    def _series(self, metric: Metric, span: Span) -> Series | None:
        """The values of a metric, or None if it is not measured here."""
        match metric.namespace:
            case "OrderCapture":
                return self._of_logs(metric, span)
            case "AWS/Lambda" if metric.name in _LAMBDA and metric.dimensions:
                return self._of_logs(metric, span)
            case "AWS/SQS" if metric.name in _SQS:
                return self._of_queue(metric, span)
        return None

    def _of_logs(self, metric: Metric, span: Span) -> Series:
        wanted = (metric.namespace, metric.name, frozenset(metric.dimensions))
        named = [
            each for each in self._measurements() if (each.namespace, each.name, each.dimensions) == wanted
        ]
        return _aggregated(named, metric.stat, span)

    def _of_queue(self, metric: Metric, span: Span) -> Series:
        name = dict(metric.dimensions)["QueueName"]
        url = next((each for each in self.stack.outputs.values() if each.rpartition("/")[2] == name), None)
        if url is None:
            raise DashboardError(f"The dashboard shows the queue {name}, which the stack does not output.")
        attribute: Any = _SQS[metric.name]
        attributes = self.stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])
        return {span.periods[-1]: float(attributes["Attributes"].get(attribute, 0))}

    def _measurements(self) -> list[_Measurement]:
        if self._logged is None:
            self._logged = []
            client = self.stack.client("logs")
            for function, group in functions_of(self.stack).items():
                log = FunctionLog(client, function, group, since=int(self.span.start * 1000))
                name = self.stack.output(f"{resource_name(function)}FunctionName")
                for line in log.read_all():
                    self._logged += measurements(line.time / 1000, line.values)
                    self._logged += _calls(line, name)
                self.on_progress("functions' logs", 1)
        return self._logged


def _calls(line: LogLine, function: str) -> Iterable[_Measurement]:
    """A function call, if this is Lambda's REPORT line."""
    if match := _REPORT.match(line.text):
        dimensions = frozenset([("FunctionName", function)])
        for name, value in (("Invocations", 1.0), ("Duration", float(match[1]))):
            yield _Measurement(line.time / 1000, name, "AWS/Lambda", dimensions, (value,))


def measurements(time: float, values: Mapping[str, Any]) -> Iterable[_Measurement]:
    """The values of a line in CloudWatch's embedded metric format; none for any other line."""
    described = values.get("_aws")
    for directive in described.get("CloudWatchMetrics", []) if isinstance(described, Mapping) else []:
        for names in directive["Dimensions"]:
            dimensions = frozenset((name, str(values[name])) for name in names)
            for metric in directive["Metrics"]:
                measured = values[metric["Name"]]
                numbers = measured if isinstance(measured, list) else [measured]
                yield _Measurement(
                    time,
                    metric["Name"],
                    directive["Namespace"],
                    dimensions,
                    tuple(float(each) for each in numbers if isinstance(each, int | float | Decimal)),
                )


def _aggregated(measured: Iterable[_Measurement], stat: str, span: Span) -> Series:
    values: dict[float, list[float]] = defaultdict(list)
    for each in measured:
        if span.start <= each.time < span.end:
            values[each.time // span.period * span.period].extend(each.values)
    return {period: statistic(stat, values[period]) for period in sorted(values)}
