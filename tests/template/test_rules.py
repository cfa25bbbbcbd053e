"""The template keeps every rule, and every rule is proved to fail for a broken one."""

from __future__ import annotations

import pytest

from tests.support.template import load_template, on_aws
from tests.template.rulebook import Break, Rule
from tests.template.rules import RULES


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.__name__)
def test_the_template_keeps_the_rule_that(rule: Rule) -> None:
    assert list(rule(on_aws(load_template()))) == []


@pytest.mark.parametrize(
    ("rule", "break_it", "report"), RULES.proofs, ids=[report for _, _, report in RULES.proofs]
)
def test_a_broken_template_is_reported(rule: Rule, break_it: Break, report: str) -> None:
    # GIVEN a template that keeps the rule, broken in one place
    template = on_aws(load_template())
    break_it(template)
    # WHEN the rule is checked THEN it reports that
    assert report in list(rule(template))


def test_every_rule_has_been_seen_to_fail() -> None:
    assert RULES.unproved() == set()
