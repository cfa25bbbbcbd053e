"""CloudWatch's statistics, over the values of one period."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
    "Average": lambda values: sum(values) / len(values),
}


def statistic(name: str, values: Sequence[float]) -> float:
    """A statistic by CloudWatch's name for it: Sum, Average, Maximum, Minimum, SampleCount, p50, p99.9, …

    Raises:
        ValueError: the name is unknown, or there are no values.
    """
    if not values:
        raise ValueError("there are no values")
    if name in _STATISTICS:
        return float(_STATISTICS[name](values))
    if match := _PERCENTILE.fullmatch(name):
        return _percentile(float(match[1]), values)
    raise ValueError(f"{name} is not a supported statistic")


def _percentile(percent: float, values: Sequence[float]) -> float:
    """The nearest-rank percentile: the least value that at least so many percent do not exceed."""
    ordered = sorted(values)
    rank = -(-percent * len(ordered) // 100)  # rounded up
    return float(ordered[max(int(rank), 1) - 1])
