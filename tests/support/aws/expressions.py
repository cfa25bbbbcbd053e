"""Just the part of DynamoDB's expression language that the application writes; the rest is an error.

Conditions: `attribute_exists`, `attribute_not_exists`, `=`, `<>`, `>=`, joined by AND; in the place of one of
them, several in parentheses, joined by OR. Updates: SET with a
value, a sum, or `list_append`. Paths are names of the item's own attributes, plain or as `#placeholder`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from functools import lru_cache
from typing import Any

Attribute = dict[str, Any]
Item = dict[str, Attribute]
Names = Mapping[str, str]
Values = Mapping[str, Attribute]

_PATH = r"(#?[A-Za-z_]\w*)"
_VALUE = r"(:\w+)"
_EXISTENCE = re.compile(rf"(attribute_exists|attribute_not_exists)\s*\(\s*{_PATH}\s*\)")
_COMPARISON = re.compile(rf"{_PATH}\s*(=|<>|>=)\s*{_VALUE}")
_ASSIGNMENT = re.compile(rf"{_PATH}\s*=\s*(.+)")
_SUM = re.compile(rf"{_PATH}\s*\+\s*{_VALUE}")
_APPEND = re.compile(rf"list_append\s*\(\s*{_PATH}\s*,\s*{_VALUE}\s*\)")
_COMMA = re.compile(r",(?![^(]*\))")  # not one between parentheses

# DynamoDB keeps 38 significant digits, and refuses a number that has more.
_EXACT = Context(prec=38, traps=[Inexact])


class ExpressionError(ValueError):
    """An expression can't be read, or not be applied to its item: DynamoDB's ValidationException."""


@dataclass(frozen=True)
class Expression:
    """The placeholders that an expression uses, and what it does with an item, given their values."""

    placeholders: frozenset[str]
    apply: Callable[[Item, Values], Any]


def condition(text: str, names: Names) -> Expression:
    """Parse a condition: `apply` returns whether it holds; a missing item counts as empty."""
    clauses = [_clause(clause.strip(), names) for clause in text.split(" AND ")]
    tests = [clause.apply for clause in clauses]

    def apply(item: Item, values: Values) -> bool:
        for test in tests:  # noqa: SIM110 - a generator for all() takes twice as long
            if not test(item, values):
                return False
        return True

    return Expression(frozenset().union(*(clause.placeholders for clause in clauses)), apply)


def update(text: str, names: Names) -> Expression:
    """Read an update: `apply` returns the attributes that change, worked out from the item as it was."""
    verb, _, rest = text.partition(" ")
    if verb != "SET":
        raise ExpressionError(f"not an update that is known here: {text}")
    assignments = [_assignment(assignment.strip(), names) for assignment in _COMMA.split(rest)]
    changes = [assignment.apply for assignment in assignments]

    def apply(item: Item, values: Values) -> Item:
        return dict([change(item, values) for change in changes])

    return Expression(frozenset().union(*(a.placeholders for a in assignments)), apply)


@lru_cache(maxsize=8192)
def number(text: str) -> str:
    """A number as DynamoDB gives it back: without zeros at its ends, and never as "1E+3"."""
    try:
        return f"{Decimal(text).normalize(_EXACT):f}"
    except ArithmeticError as error:
        raise ExpressionError(f"not a number of at most 38 digits: {text}") from error


def _clause(text: str, names: Names) -> Expression:
    if text[0] == "(" and text[-1] == ")":
        return _any_of([_clause(each.strip(), names) for each in text[1:-1].split(" OR ")])
    if match := _EXISTENCE.fullmatch(text):
        function, path = match.groups()
        name, wanted = _name(path, names), function == "attribute_exists"
        return Expression(_used(path), lambda item, _: (name in item) is wanted)
    if match := _COMPARISON.fullmatch(text):
        path, comparison, value = match.groups()
        name, compare = _name(path, names), _COMPARE[comparison]
        return Expression(_used(path, value), lambda item, values: compare(item.get(name), values[value]))
    raise ExpressionError(f"not a condition that is known here: {text}")


def _any_of(clauses: Sequence[Expression]) -> Expression:
    tests = [clause.apply for clause in clauses]

    def apply(item: Item, values: Values) -> bool:
        return any(test(item, values) for test in tests)

    return Expression(frozenset().union(*(clause.placeholders for clause in clauses)), apply)


def _assignment(text: str, names: Names) -> Expression:
    match = _ASSIGNMENT.fullmatch(text)
    if not match:
        raise ExpressionError(f"not an assignment that is known here: {text}")
    target, operand = match.groups()
    if re.fullmatch(_VALUE, operand):
        name = _name(target, names)
        return Expression(_used(target, operand), lambda _, values: (name, values[operand]))
    for pattern, combine in ((_SUM, _sum), (_APPEND, _append)):
        if found := pattern.fullmatch(operand):
            source, value = found.groups()
            change = _combination(_name(target, names), _name(source, names), value, combine)
            return Expression(_used(target, source, value), change)
    raise ExpressionError(f"not an operand that is known here: {operand}")


def _combination(
    target: str, source: str, value: str, combine: Callable[[Attribute, Attribute], Attribute]
) -> Callable[[Item, Values], tuple[str, Attribute]]:
    def apply(item: Item, values: Values) -> tuple[str, Attribute]:
        if source not in item:
            raise ExpressionError(f"the item has no attribute {source}")
        return target, combine(item[source], values[value])

    return apply


def _used(*tokens: str) -> frozenset[str]:
    return frozenset(token for token in tokens if token[0] in "#:")


def _name(path: str, names: Names) -> str:
    if path[0] != "#":
        return path
    if path not in names:
        raise ExpressionError(f"an attribute name is not defined: {path}")
    return names[path]


def _equal(left: Attribute | None, right: Attribute) -> bool:
    return left == right


def _unequal(left: Attribute | None, right: Attribute) -> bool:
    """What is not there is unequal to everything."""
    return left != right


def _at_least(left: Attribute | None, right: Attribute) -> bool:
    """Numbers by value, text by its bytes; what is not of one type is not comparable, and fails."""
    if left is None or left.keys() != right.keys():
        return False
    if "N" in right:
        return _value_of(left["N"]) >= _value_of(right["N"])
    if "S" in right:
        return bool(left["S"].encode() >= right["S"].encode())
    raise ExpressionError(f"not to be compared: {right}")


_COMPARE: Mapping[str, Callable[[Attribute | None, Attribute], bool]] = {
    "=": _equal,
    "<>": _unequal,
    ">=": _at_least,
}


def _sum(left: Attribute, right: Attribute) -> Attribute:
    if "N" not in left or "N" not in right:
        raise ExpressionError("only numbers can be added")
    try:
        return {"N": _added(left["N"], right["N"])}
    except Inexact as error:
        raise ExpressionError("a sum has more than 38 digits") from error


@lru_cache(maxsize=8192)
def _added(left: str, right: str) -> str:
    return f"{_EXACT.add(Decimal(left), Decimal(right)).normalize(_EXACT):f}"


@lru_cache(maxsize=8192)
def _value_of(text: str) -> Decimal:
    return Decimal(text)


def _append(left: Attribute, right: Attribute) -> Attribute:
    if "L" not in left or "L" not in right:
        raise ExpressionError("only lists can be appended")
    return {"L": [*left["L"], *right["L"]]}
