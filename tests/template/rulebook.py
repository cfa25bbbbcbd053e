"""The form of rules: each with changes that break it, and the expected report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.support.template import Template

Rule = Callable[[Template], Iterator[str]]  # reports in sentences how a template breaks it
Break = Callable[[Template], Any]  # changes a template that keeps the rule


class Rulebook:
    """Rules, and for each at least one proof that it fails.

    @rule
    @broken_by(without("ShipOrderQueue", "RedrivePolicy"), "ShipOrderQueue has no dead-letter queue")
    def a_queue_that_feeds_a_function_has_a_dead_letter_queue(template): ...
    """

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.proofs: list[tuple[Rule, Break, str]] = []

    def rule(self, check: Rule) -> Rule:
        """Adds a rule."""
        self.rules.append(check)
        return check

    def broken_by(self, break_it: Break, report: str) -> Callable[[Rule], Rule]:
        """Adds a proof: a template with this change makes the rule report that."""

        def add(check: Rule) -> Rule:
            self.proofs.append((check, break_it, report))
            return check

        return add

    def unproved(self) -> set[str]:
        """The rules without a proof."""
        return {rule.__name__ for rule in self.rules} - {rule.__name__ for rule, _, _ in self.proofs}


# ------------------------------------------------------------------------------------------ ways to break one
def changing(name: str, change: Callable[[dict[str, Any]], Any]) -> Break:
    """Changes a resource's properties."""
    return lambda template: change(template["Resources"][name]["Properties"])


def setting(name: str, **values: Any) -> Break:
    """Sets properties of a resource."""
    return changing(name, lambda p: p.update(values))


def without(name: str, *keys: str) -> Break:
    """Removes properties from a resource."""
    return changing(name, lambda p: [p.pop(key) for key in keys])


def without_resource(name: str) -> Break:
    """Removes a resource from the template."""
    return lambda template: template["Resources"].pop(name)


def with_attributes(name: str, **values: Any) -> Break:
    """Sets attributes of a resource beside its properties; None removes one."""

    def change(template: Template) -> None:
        resource = template["Resources"][name]
        resource.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del resource[key]

    return change


def with_variables(function: str, **values: Any) -> Break:
    """Sets environment variables of a function."""
    return changing(function, lambda p: p["Environment"]["Variables"].update(values))


def with_event(function: str, name: str = "Queue", **values: Any) -> Break:
    """Sets properties of a function's event."""
    return changing(function, lambda p: p["Events"][name]["Properties"].update(values))


def changing_policy(name: str, change: Callable[[list[Any]], Any]) -> Break:
    """Changes the statements of a resource's policy, or of its first inline policy."""

    def of(p: dict[str, Any]) -> list[Any]:
        document = p["PolicyDocument"] if "PolicyDocument" in p else p["Policies"][0]["PolicyDocument"]
        every: list[Any] = document["Statement"]
        return every

    return changing(name, lambda p: change(of(p)))


def with_statement(name: str, index: int, **values: Any) -> Break:
    """Changes one statement of a resource's policy, or of its first inline policy."""
    return changing_policy(name, lambda every: every[index].update(values))
