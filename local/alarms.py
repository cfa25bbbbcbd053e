"""Evaluates CloudWatch alarms by the rules in its user guide, over metrics from the caller.

The engine's own CloudWatch ignores dimensions, so one queue would raise the alarms of all. "Using Amazon
CloudWatch alarms" has the rules: M out of N, missing data, and that alarms on AWS/DynamoDB always keep their
state when data are missing, regardless of their setting. Unsupported settings are an error.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from order_capture_ops.dashboard.metric_math import Context, Series, evaluate
from order_capture_ops.dashboard.sources import measurements
from order_capture_ops.dashboard.statistics import statistic

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
Dimensions = Mapping[str, str]
Template = Mapping[str, Any]
Key = tuple[str, str, frozenset[tuple[str, str]]]

EXTRA_PERIODS = 2
"""Periods that CloudWatch retrieves beyond the evaluated ones: two for three in the guide's examples."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


@dataclass
class CloudWatch:
    """The metrics. Times are seconds since a start that the caller chooses."""

    values: dict[Key, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    quotas: dict[str, float] = field(default_factory=dict)
    """The quota behind a metric, by the metric's name."""

    def put(self, namespace: str, name: str, dimensions: Dimensions, time: float, *values: float) -> None:
        """Add values measured at one time."""
        key = (namespace, name, frozenset(dimensions.items()))
        self.values[key] += [(time, value) for value in values]

    def read_log(self, time: float, lines: Iterable[Mapping[str, Any]]) -> int:
        """Add the metrics of log lines in the embedded metric format; returns the number of values."""
        number = 0
        for line in lines:
            for each in measurements(time, line):
                self.put(each.namespace, each.name, dict(each.dimensions), time, *each.values)
                number += len(each.values)
        return number

    def series(self, key: Key, stat: str, periods: list[float], period: float) -> Series:
        """A statistic of a metric, for each of these periods with data."""
        found = defaultdict(list)
        for time, value in self.values.get(key, []):
            found[time // period * period].append(value)
        return {each: statistic(stat, found[each]) for each in periods if each in found}


@dataclass
class Alarms:
    """The alarms of a template."""

    template: Template
    physical: Callable[[Any], str]
    """The value of each reference in the template, as in the metrics."""
    cloudwatch: CloudWatch
    fills_empty: bool = True
    """See metric_math."""

    def state(self, name: str, now: float, before: str = OK) -> str:
        """The state of an alarm, at the end of the last complete period.

        Args:
            name: its logical id.
            now: the time, in seconds.
            before: the state to keep if data are missing and the alarm ignores that.
        """
        resource = self.template["Resources"][name]
        properties = resource["Properties"]
        if resource["Type"] == "AWS::CloudWatch::CompositeAlarm":
            return self._composite(properties["AlarmRule"], now)
        period = self._period(properties)
        wanted = int(properties["EvaluationPeriods"])
        first = now // period * period - period * (wanted + EXTRA_PERIODS)
        periods = [first + period * number for number in range(wanted + EXTRA_PERIODS)]
        series = self._series(properties, periods, period)
        return judge(
            [series.get(each) for each in periods],
            _COMPARISONS[properties["ComparisonOperator"]],
            float(self._plain(properties["Threshold"])),
            wanted,
            int(properties.get("DatapointsToAlarm", wanted)),
            "ignore" if self._is_of_dynamodb(properties) else properties["TreatMissingData"],
            before,
        )

    def _composite(self, rule: Any, now: float) -> str:
        text = re.sub(
            r'ALARM\("\$\{(\w+)\}"\)',
            lambda named: str(float(self.state(named[1], now) == ALARM)),
            rule["Fn::Sub"],
        )
        # What remains is numbers, AND and OR, which metric math supports.
        return ALARM if evaluate(text, Context([], 0, {})) else OK

    @staticmethod
    def _period(properties: Mapping[str, Any]) -> float:
        if "Period" in properties:
            return float(properties["Period"])
        (period,) = {each["MetricStat"]["Period"] for each in properties["Metrics"] if "MetricStat" in each}
        return float(period)

    @staticmethod
    def _is_of_dynamodb(properties: Mapping[str, Any]) -> bool:
        metrics = [
            each["MetricStat"]["Metric"] for each in properties.get("Metrics", []) if "MetricStat" in each
        ]
        return any(
            each["Namespace"] == "AWS/DynamoDB" for each in (*metrics, properties) if "Namespace" in each
        )

    def _series(self, properties: Mapping[str, Any], periods: list[float], period: float) -> Series:
        if "Metrics" not in properties:
            stat = properties.get("ExtendedStatistic") or properties["Statistic"]
            return self.cloudwatch.series(self._key(properties), stat, periods, period)
        metrics, expressions, quotas = {}, {}, {}
        (returned,) = (each["Id"] for each in properties["Metrics"] if each.get("ReturnData", True))
        for each in properties["Metrics"]:
            if "Expression" in each:
                expressions[each["Id"]] = self._plain(each["Expression"])
                continue
            stat = each["MetricStat"]
            key = self._key(stat["Metric"])
            metrics[each["Id"]] = self.cloudwatch.series(key, stat["Stat"], periods, period)
            if key[1] in self.cloudwatch.quotas:
                quotas[each["Id"]] = self.cloudwatch.quotas[key[1]]
        context = Context(periods, period, metrics, expressions, self.fills_empty, quotas)
        value = evaluate(expressions[returned], context)
        assert isinstance(value, dict), "an alarm watches one series"
        return value

    def _key(self, metric: Mapping[str, Any]) -> Key:
        dimensions = {each["Name"]: self._plain(each["Value"]) for each in metric.get("Dimensions", [])}
        return metric["Namespace"], metric["MetricName"], frozenset(dimensions.items())

    def _plain(self, value: Any) -> str:
        return self.physical(value) if isinstance(value, dict) else str(value)


def judge(
    values: list[float | None],
    breaches: Callable[[float, float], bool],
    threshold: float,
    evaluated: int,
    to_alarm: int,
    missing: str,
    before: str = OK,
) -> str:
    """The state of an alarm from the values of its last periods, the latest last; None is missing.

    If there are enough values to evaluate, missing ones are ignored. Otherwise as many missing values as
    needed are treated as `missing` says.
    """
    real = [breaches(value, threshold) for value in values if value is not None]
    if len(real) >= evaluated:
        return ALARM if sum(real[-evaluated:]) >= to_alarm else OK
    needed = evaluated - len(real)
    match missing:
        case "notBreaching":
            return ALARM if sum(real) >= to_alarm else OK
        case "breaching":
            return ALARM if sum(real) + needed >= to_alarm else OK
        case "ignore" if sum(real) >= to_alarm:
            return ALARM
        case "ignore":
            return OK if any(not each for each in real) else before
    raise ValueError(f"unsupported: {missing!r}")
