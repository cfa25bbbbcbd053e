"""Metric math and statistics are CloudWatch's, as far as they are used."""

from __future__ import annotations

import pytest

from order_capture_ops.dashboard.metric_math import Context, MathError, Series, Value, evaluate
from order_capture_ops.dashboard.statistics import statistic

PERIODS = [0.0, 60.0, 120.0]


def value(expression: str, metrics: dict[str, Series], *, fills_empty: bool = True) -> Value:
    quotas = {"used": 1000.0}
    return evaluate(expression, Context(PERIODS, 60, metrics, {"half": "a / 2"}, fills_empty, quotas))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("2 + 3 * 4", 14.0),
        ("a + 1", {0: 2.0, 60: 3.0}),
        ("a - b", {60: -8.0}),  # only where both have a value
        ("-a", {0: -1.0, 60: -2.0}),
        ("half", {0: 0.5, 60: 1.0}),
        ("a / zero", {60: 2.0}),  # a division by zero has no value
        ("a > 1", {0: 0.0, 60: 1.0}),
        ("a > 0 AND b > 0", {60: 1.0}),
        ("a > 1 OR a == 1", {0: 1.0, 60: 1.0}),
        ("IF(a > 1, 7, 0)", {0: 0.0, 60: 7.0}),
        ("IF(a > 1, 7)", {60: 7.0}),
        ("IF(a > 1, b)", {60: 10.0}),
        ("FILL(a, 0)", {0: 1.0, 60: 2.0, 120: 0.0}),
        ("FILL(b, REPEAT)", {60: 10.0, 120: 20.0}),
        ("FILL(none, 0)", {0: 0.0, 60: 0.0, 120: 0.0}),
        ("DIFF(b)", {120: 10.0}),
        ("SUM([a, b])", {0: 1.0, 60: 12.0, 120: 20.0}),
        ("MAX([a, b])", {0: 1.0, 60: 10.0, 120: 20.0}),
        ("SUM(METRICS())", {0: 1.0, 60: 13.0, 120: 20.0}),
        ("SUM(a)", 3.0),
        ("PERIOD(a)", 60.0),
        ("SERVICE_QUOTA(used)", dict.fromkeys(PERIODS, 1000.0)),
        ("SERVICE_QUOTA(a)", {}),  # there is none
    ],
)
def test_an_expression_has_the_value_that_cloudwatch_gives_it(expression: str, expected: Value) -> None:
    metrics: dict[str, Series] = {
        "a": {0: 1, 60: 2}, "b": {60: 10, 120: 20}, "zero": {0: 0, 60: 1}, "none": {},
    }  # fmt: skip
    assert value(expression, metrics) == expected


def test_a_metric_without_data_may_not_be_filled() -> None:
    assert value("FILL(a, 0)", {"a": {}}, fills_empty=False) == {}
    assert value("SUM([0 * b, FILL(a, 0)])", {"a": {}, "b": {0: 3}}, fills_empty=False) == {0: 0.0}


@pytest.mark.parametrize(
    "expression",
    [
        "nobody",
        "a ** 2",
        "RATE(a)",
        "a +",
        "FILL(a)",
        "FILL(a, b)",
        "METRICS() + 1",
        "DIFF(3)",
        "__import__('os')",
        "a.b",
    ],
)
def test_what_is_not_known_has_no_value(expression: str) -> None:
    with pytest.raises(MathError):
        value(expression, {"a": {0: 1}})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("Sum", 55.0), ("Average", 5.5), ("Maximum", 10.0), ("Minimum", 1.0), ("SampleCount", 10.0)),
        *(("p50", 5.0), ("p99", 10.0), ("p10", 1.0), ("p100", 10.0), ("p0", 1.0)),
    ],
)
def test_statistics(name: str, expected: float) -> None:
    assert statistic(name, [3, 1, 2, 10, 9, 8, 7, 6, 5, 4]) == expected


def test_a_statistic_of_nothing_or_of_another_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        statistic("Sum", [])
    with pytest.raises(ValueError, match="tm99"):
        statistic("tm99", [1.0])
