"""Business metrics: CloudWatch extracts them from the lines that Powertools writes to the log.

There is one namespace, and the stack (`service`) is a dimension of every metric. A few metrics have a second
dimension with few values, since each combination is billed as a metric. docs/reference/metrics.md lists all.

Without a namespace from template.yaml, as in tests, nothing is measured. An error while measuring is never
raised: an accepted order would be answered with an error, and a finished batch would be delivered again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import ParamSpec

from aws_lambda_powertools import Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from order_capture.config import settings

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")


def harmless(measure: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Log an error of `measure` and continue."""

    @wraps(measure)
    def measured(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        try:
            measure(*arguments, **named)
        except Exception:
            logger.exception("not measured")

    return measured


@harmless
def count(name: str, number: int = 1) -> None:
    """Add to a counter."""
    if number and (metrics := _metrics()):
        metrics.add_metric(name, MetricUnit.Count, number)


@harmless
def count_each(name: str, dimension: str, numbers: Mapping[str, int]) -> None:
    """Add to a counter with a dimension; `numbers` has the number for each of its values."""
    if (metrics := _metrics()) is None:
        return
    service = {"service": str(metrics.service)}
    for value, number in numbers.items():
        with single_metric(name, MetricUnit.Count, number, default_dimensions=service) as metric:
            metric.add_dimension(dimension, value)


@harmless
def took(name: str, seconds: float) -> None:
    """Add a duration or an age to a metric."""
    if metrics := _metrics():
        metrics.add_metric(name, MetricUnit.Seconds, seconds)


def is_measured() -> bool:
    """Whether metrics are on, so that it is worth computing figures for them."""
    return bool(settings.powertools_metrics_namespace)


@harmless
def flush() -> None:
    """Write the metrics to the log; called at the end of each invocation."""
    if (metrics := _metrics()) and metrics.metric_set:
        metrics.flush_metrics()


def _metrics() -> Metrics | None:
    return _made() if is_measured() else None


@cache
def _made() -> Metrics:
    return Metrics()
