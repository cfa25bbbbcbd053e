"""The part of DynamoDB's expression language that the application uses; the rest is an error.

Conditions: `attribute_exists`, `attribute_not_exists`, `begins_with`, `contains`, comparisons of an attribute
or its `size`, joined by AND and OR, with parentheses. Updates: SET with a value, a sum, or `list_append`;
ADD, DELETE and REMOVE. Paths are names of the item's own attributes, plain or as `#placeholder`.
"""

from __future__ import annotations

import operator
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
_COMPARISON = re.compile(rf"{_PATH}\s*(=|<>|>=|<=|>|<)\s*{_VALUE}")
_SIZE = re.compile(rf"size\s*\(\s*{_PATH}\s*\)\s*(=|<>|>=|<=|>|<)\s*{_VALUE}")
_PART = re.compile(rf"(begins_with|contains)\s*\(\s*{_PATH}\s*,\s*{_VALUE}\s*\)")
_SECTION = re.compile(r"(?:^|\s)(SET|ADD|DELETE|REMOVE)\s")
_ASSIGNMENT = re.compile(rf"{_PATH}\s*=\s*(.+)")
_SUM = re.compile(rf"{_PATH}\s*\+\s*{_VALUE}")
_APPEND = re.compile(rf"list_append\s*\(\s*{_PATH}\s*,\s*{_VALUE}\s*\)")
_COMMA = re.compile(r",(?![^(]*\))")  # not inside parentheses

# DynamoDB keeps 38 significant digits, and refuses a number that has more.
_EXACT = Context(prec=38, traps=[Inexact])


class ExpressionError(ValueError):
    """An expression can't be parsed, or can't be applied to its item: DynamoDB's ValidationException."""


@dataclass(frozen=True)
class Expression:
    """The placeholders of an expression, and its effect on an item, given their values."""

    placeholders: frozenset[str]
    apply: Callable[[Item, Values], Any]


def condition(text: str, names: Names) -> Expression:
    """Parse a condition: `apply` returns whether it holds; a missing item counts as empty."""
    if len(alternatives := _split(text, " OR ")) > 1:
        return _any_of([condition(each, names) for each in alternatives])
    clauses = [_clause(clause.strip(), names) for clause in _split(text, " AND ")]
    tests = [clause.apply for clause in clauses]

    def apply(item: Item, values: Values) -> bool:
        for test in tests:  # noqa: SIM110 - a generator for all() takes twice as long
            if not test(item, values):
                return False
        return True

    return Expression(frozenset().union(*(clause.placeholders for clause in clauses)), apply)


def update(text: str, names: Names) -> Expression:
    """Parse an update: `apply` returns the attributes that change, computed from the item before it.

    None stands for a removed attribute.
    """
    start, *sections = _SECTION.split(text)
    if start or not sections:
        raise ExpressionError(f"not an update that is known here: {text}")
    actions = [
        _ACTIONS[verb](action.strip(), names)
        for verb, section in zip(sections[::2], sections[1::2], strict=True)
        for action in _COMMA.split(section)
    ]
    changes = [action.apply for action in actions]

    def apply(item: Item, values: Values) -> Mapping[str, Attribute | None]:
        return dict([change(item, values) for change in changes])

    return Expression(frozenset().union(*(a.placeholders for a in actions)), apply)


@lru_cache(maxsize=8192)
def number(text: str) -> str:
    """A number as DynamoDB returns it: without leading or trailing zeros, and never as "1E+3"."""
    try:
        return f"{Decimal(text).normalize(_EXACT):f}"
    except ArithmeticError as error:
        raise ExpressionError(f"not a number of at most 38 digits: {text}") from error


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators outside of parentheses."""
    parts = [""]
    for piece in text.split(separator):
        joined = f"{parts[-1]}{separator}{piece}" if parts[-1] else piece
        parts[-1] = joined
        if joined.count("(") == joined.count(")"):
            parts.append("")
    return parts[:-1]


def _clause(text: str, names: Names) -> Expression:
    if text[0] == "(" and text[-1] == ")":
        return condition(text[1:-1], names)
    if match := _EXISTENCE.fullmatch(text):
        function, path = match.groups()
        name, wanted = _name(path, names), function == "attribute_exists"
        return Expression(_used(path), lambda item, _: (name in item) is wanted)
    if match := _COMPARISON.fullmatch(text):
        path, comparison, value = match.groups()
        name, compare = _name(path, names), _COMPARE[comparison]
        return Expression(_used(path, value), lambda item, values: compare(item.get(name), values[value]))
    if match := _SIZE.fullmatch(text):
        path, comparison, value = match.groups()
        name, compare = _name(path, names), _COMPARE[comparison]
        return Expression(_used(path, value), lambda item, values: compare(_size(item, name), values[value]))
    if match := _PART.fullmatch(text):
        function, path, value = match.groups()
        name, test = _name(path, names), _has if function == "contains" else _begins
        return Expression(_used(path, value), lambda item, values: test(item.get(name), values[value]))
    raise ExpressionError(f"not a condition that is known here: {text}")


def _size(item: Item, name: str) -> Attribute | None:
    return {"N": str(len(*item[name].values()))} if name in item else None


def _has(attribute: Attribute | None, part: Attribute) -> bool:
    return attribute is not None and part["S"] in attribute["SS"]


def _begins(attribute: Attribute | None, part: Attribute) -> bool:
    return attribute is not None and attribute["S"].startswith(part["S"])


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


def _addition(text: str, names: Names) -> Expression:
    return _with_value(text, names, _joined)


def _removal(text: str, names: Names) -> Expression:
    return _with_value(text, names, _without)


def _forgetting(path: str, names: Names) -> Expression:
    name = _name(path, names)
    return Expression(_used(path), lambda _item, _values: (name, None))


_ACTIONS: Mapping[str, Callable[[str, Names], Expression]] = {
    "SET": _assignment,
    "ADD": _addition,
    "DELETE": _removal,
    "REMOVE": _forgetting,
}


def _with_value(
    text: str, names: Names, combine: Callable[[Attribute | None, Attribute], Attribute | None]
) -> Expression:
    path, value = text.split()
    name = _name(path, names)
    return Expression(_used(path, value), lambda item, values: (name, combine(item.get(name), values[value])))


def _joined(old: Attribute | None, more: Attribute) -> Attribute:
    """A sum, or the union of two sets."""
    if old is None:
        return more
    return {"SS": sorted({*old["SS"], *more["SS"]})} if "SS" in more else _sum(old, more)


def _without(old: Attribute | None, members: Attribute) -> Attribute | None:
    """A set without some members; an empty set can't exist."""
    rest = {*old["SS"]} - {*members["SS"]} if old else set()
    return {"SS": sorted(rest)} if rest else None


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
    """Compare; a missing value is unequal to everything."""
    return left != right


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Attribute | None, Attribute], bool]:
    """Compare numbers by value, text by its bytes; different types are not comparable, and fail."""

    def apply(left: Attribute | None, right: Attribute) -> bool:
        if left is None or left.keys() != right.keys():
            return False
        if "N" in right:
            return compare(_value_of(left["N"]), _value_of(right["N"]))
        if "S" in right:
            return compare(left["S"].encode(), right["S"].encode())
        raise ExpressionError(f"not to be compared: {right}")

    return apply


_COMPARE: Mapping[str, Callable[[Attribute | None, Attribute], bool]] = {
    "=": _equal,
    "<>": _unequal,
    ">=": _ordered(operator.ge),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    "<": _ordered(operator.lt),
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
