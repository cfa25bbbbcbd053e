"""What the business is measured by: CloudWatch makes metrics of the lines that Powertools writes to the log.

One namespace, and each metric by the stack (`service`); few have a second dimension, whose values are few:
every combination is a metric of its own, and billed as one. docs/reference/metrics.md lists them all.

Where template.yaml names no namespace, as in tests, nothing is measured. And nothing fails because it is
measured: an accepted order would be answered with an error, a batch that was done would come again.
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
    """Log what goes wrong while something is measured, and go on."""

    @wraps(measure)
    def measured(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        try:
            measure(*arguments, **named)
        except Exception:
            logger.exception("not measured")

    return measured


@harmless
def count(name: str, number: int = 1) -> None:
    """Add to a metric that counts."""
    if number and (metrics := _metrics()):
        metrics.add_metric(name, MetricUnit.Count, number)


@harmless
def count_each(name: str, dimension: str, numbers: Mapping[str, int]) -> None:
    """Add to a metric that counts by `dimension`, whose values `numbers` has."""
    if (metrics := _metrics()) is None:
        return
    service = {"service": str(metrics.service)}
    for value, number in numbers.items():
        with single_metric(name, MetricUnit.Count, number, default_dimensions=service) as metric:
            metric.add_dimension(dimension, value)


@harmless
def took(name: str, seconds: float) -> None:
    """Add to a metric of how long something took, or how old it is."""
    if metrics := _metrics():
        metrics.add_metric(name, MetricUnit.Seconds, seconds)


def is_measured() -> bool:
    """Whether there is any use in working figures out."""
    return bool(settings.powertools_metrics_namespace)


@harmless
def flush() -> None:
    """Write down what has been measured: at the end of each call of a function."""
    if (metrics := _metrics()) and metrics.metric_set:
        metrics.flush_metrics()


def _metrics() -> Metrics | None:
    return _made() if is_measured() else None


@cache
def _made() -> Metrics:
    return Metrics()
