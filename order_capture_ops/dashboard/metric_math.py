"""The subset of CloudWatch's metric math that our dashboard and alarms use.

The local engine has no metric math, and the alarms are tested without AWS. Unsupported syntax is an error,
never a wrong figure. See "Using math expressions with CloudWatch metrics" in the Amazon CloudWatch user
guide.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Series = dict[float, float]
"""Values by the start of their period, in seconds; a period without data has none."""
Value = float | Series | list[Series]

_BINARY: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARED: dict[type[ast.AST], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class MathError(ValueError):
    """An expression is not supported here."""


@dataclass(frozen=True)
class Context:
    """The data that an expression is evaluated with."""

    periods: Sequence[float]
    """The start of each period, in order: FILL fills these."""
    period: float
    """The length of a period in seconds."""
    metrics: Mapping[str, Series]
    """Each metric, by its id."""
    expressions: Mapping[str, str] = field(default_factory=dict)
    """Other expressions, by their ids."""
    fills_empty: bool = True
    """Whether FILL fills a metric that has no data at all. AWS's documentation does not say."""
    quotas: Mapping[str, float] = field(default_factory=dict)
    """The quota that a metric counts against, if any, by the metric's id."""
    search: Callable[[str, str], list[Series]] = lambda *_: []
    """The results of SEARCH, by search and statistic."""


def evaluate(expression: str, context: Context) -> Value:
    """The value of an expression: a number, a series, or several series.

    Raises:
        MathError: its syntax, a function or an id is not supported here.
    """
    python = re.sub(r"\bAND\b", "and", re.sub(r"\bOR\b", "or", re.sub(r"\bIF\(", "IF_(", expression)))
    try:
        tree = ast.parse(python.strip(), mode="eval")
    except SyntaxError as error:
        raise MathError(f"{expression!r} can't be read: {error.msg}") from error
    return _Evaluator(context, expression).value(tree.body)


class _Evaluator:
    def __init__(self, context: Context, expression: str) -> None:
        self._context = context
        self._expression = expression

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return self._named(name)
            case ast.List(elts=elements):
                return [self._series(each) for each in elements]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _combine(operator.sub, 0.0, self._one(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _combine(_BINARY[type(op)], self._one(left), self._one(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
                return _combine(_COMPARED[type(op)], self._one(left), self._one(right))
            case ast.BoolOp(op=op, values=values):
                combined = self._one(values[0])
                for each in values[1:]:
                    both = isinstance(op, ast.And)
                    combined = _combine(
                        (lambda one, other: bool(one) and bool(other))
                        if both
                        else (lambda one, other: bool(one) or bool(other)),
                        combined,
                        self._one(each),
                    )
                return combined
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        raise self._unknown(ast.unparse(node))

    def _named(self, name: str) -> Value:
        if name in self._context.metrics:
            return dict(self._context.metrics[name])
        if name in self._context.expressions:
            return evaluate(self._context.expressions[name], self._context)
        raise self._unknown(name)

    def _call(self, name: str, arguments: list[ast.expr]) -> Value:
        match name, arguments:
            case "METRICS", []:
                return [dict(series) for series in self._context.metrics.values()]
            case "SUM" | "MAX", [of]:
                return _across(sum if name == "SUM" else max, self.value(of))
            case "FILL", [of, filling]:
                value = self.value(of)
                if isinstance(value, list):
                    return [self._filled(each, filling) for each in value]
                return self._filled(self._as_series(value), filling)
            case "DIFF", [of]:
                return _differences(self._series(of))
            case "IF_", [condition, then]:
                return _chosen(self._one(condition), self._one(then), None)
            case "IF_", [condition, then, otherwise]:
                return _chosen(self._one(condition), self._one(then), self._one(otherwise))
            case "PERIOD", [_]:
                return float(self._context.period)
            case "SERVICE_QUOTA", [ast.Name(id=metric)]:
                # Without a quota CloudWatch has no data.
                quota = self._context.quotas.get(metric)
                return {} if quota is None else dict.fromkeys(self._context.periods, quota)
            case "SEARCH", [ast.Constant(value=str(search)), ast.Constant(value=str(stat)), *_]:
                return self._context.search(search, stat)
        raise self._unknown(f"{name.rstrip('_')} with {len(arguments)} arguments")

    def _filled(self, series: Series, filling: ast.expr) -> Series:
        filled: Series = {}
        if not series and not self._context.fills_empty:
            return filled
        last: float | None = None
        repeats = isinstance(filling, ast.Name) and filling.id == "REPEAT"
        constant = 0.0 if repeats else self._one(filling)
        if isinstance(constant, dict):
            raise self._unknown("FILL by a series")
        for period in self._context.periods:
            if period in series:
                last = filled[period] = series[period]
            elif not repeats:
                filled[period] = constant
            elif last is not None:
                filled[period] = last
        return filled

    def _one(self, node: ast.expr) -> float | Series:
        value = self.value(node)
        if isinstance(value, list):
            raise MathError(f"{ast.unparse(node)} is several series in {self._expression!r}")
        return value

    def _series(self, node: ast.expr) -> Series:
        return self._as_series(self._one(node))

    def _as_series(self, value: float | Series | list[Series]) -> Series:
        if isinstance(value, dict):
            return value
        raise MathError(f"a number in place of a series in {self._expression!r}")

    def _unknown(self, what: str) -> MathError:
        return MathError(f"{what} is not supported, in {self._expression!r}")


def _combine(
    operation: Callable[[float, float], Any], one: float | Series, other: float | Series
) -> float | Series:
    """Combine periods that both have. As in CloudWatch, a division by zero has no value."""
    if isinstance(one, dict):
        if isinstance(other, dict):
            pairs = {period: (one[period], other[period]) for period in one.keys() & other.keys()}
        else:
            pairs = {period: (value, other) for period, value in one.items()}
    elif isinstance(other, dict):
        pairs = {period: (one, value) for period, value in other.items()}
    else:
        return float(operation(one, other))
    divides = operation is operator.truediv
    return {
        period: float(operation(left, right))
        for period, (left, right) in sorted(pairs.items())
        if not (divides and right == 0)
    }


def _chosen(condition: float | Series, then: float | Series, otherwise: float | Series | None) -> Value:
    if isinstance(condition, float):
        return then if condition else (otherwise if otherwise is not None else {})
    chosen: Series = {}
    for period, holds in condition.items():
        outcome = then if holds else otherwise
        value = outcome.get(period) if isinstance(outcome, dict) else outcome
        if value is not None:
            chosen[period] = value
    return chosen


def _across(aggregate: Callable[[list[float]], float], value: Value) -> Value:
    """Aggregate several series into one, over the values of each period, or one series into a number."""
    if isinstance(value, float):
        return value
    if isinstance(value, dict):
        return float(aggregate([*value.values()])) if value else {}
    periods = sorted({period for series in value for period in series})
    return {
        period: float(aggregate([series[period] for series in value if period in series]))
        for period in periods
    }


def _differences(series: Series) -> Series:
    periods = sorted(series)
    return {then: series[then] - series[before] for before, then in pairwise(periods)}
