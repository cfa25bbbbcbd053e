"""The translated template keeps every rule, and every rule is proved to fail for a broken one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.support.template import Template, load_template, of_type
from tests.template import deployment_rules as rules
from tests.template.__main__ import lint
from tests.template.deployment_rules import DEPLOYMENT_RULES
from tests.template.rulebook import Break, Rule, setting, with_variables
from tests.template.translation import (
    READ_BY_SAM,
    Choice,
    choices,
    covering,
    decided,
    decided_for_all,
    default_values,
    other_values,
    parameters_that_sam_reads,
    put_in,
    translate,
    unchanging,
)


@pytest.mark.parametrize("rule", DEPLOYMENT_RULES.rules, ids=lambda rule: rule.__name__)
def test_whatever_the_parameters_are_it_holds_that(rule: Rule) -> None:
    with unchanging():
        findings = {finding: choice for choice, template in decided() for finding in rule(template)}
    assert findings == {}


def whole() -> Template:
    """The template with everything enabled; the caller may break it."""
    return deepcopy(max((template for _, template in decided()), key=lambda each: len(each["Resources"])))


@pytest.mark.parametrize(
    ("rule", "break_it", "report"),
    DEPLOYMENT_RULES.proofs,
    ids=[report for _, _, report in DEPLOYMENT_RULES.proofs],
)
def test_a_broken_deployment_is_reported(rule: Rule, break_it: Break, report: str) -> None:
    # GIVEN a template that keeps the rule, broken in one place
    template = whole()
    assert list(rule(template)) == []
    break_it(template)
    # WHEN the rule is checked THEN it reports that
    assert report in list(rule(template))


def test_every_rule_has_been_seen_to_fail() -> None:
    assert DEPLOYMENT_RULES.unproved() == set()


def test_a_dependency_on_what_a_condition_leaves_out_is_noticed() -> None:
    # GIVEN a template whose stage depends on a conditional resource
    template = load_template()
    template["Resources"]["Api"]["DependsOn"] = "ApiGatewayAccount"
    # WHEN it is translated for all combinations of parameters
    findings = {
        (choice["ApiGatewayLogRole"], finding)
        for choice, decided_template in decided_for_all(template)
        if choice["Platform"] == "aws"
        for finding in rules.nothing_names_what_is_not_there(decided_template)
    }
    # THEN exactly those without it are reported
    named = {finding for _, finding in findings}
    assert named == {"Api names ApiGatewayAccount, which is not there"}
    assert {role for role, _ in findings} == {"false"}


def test_a_combination_of_parameters_stands_for_all_that_a_template_may_become() -> None:
    """SAM itself resolves no other parameters: translations differ only by the template's conditions."""
    assert parameters_that_sam_reads(load_template()) == [*READ_BY_SAM]


@pytest.mark.parametrize("values", [default_values, other_values])
def test_sam_names_nothing_after_a_parameter_s_value(values: Callable[[Template], Choice]) -> None:
    """On AWS parameters are resolved before SAM reads the template, on the local engine and here afterwards.

    A different logical id is a different resource: the update of an existing stack would create a
    second stage of the same name, which API Gateway refuses.
    """
    template = load_template()
    before = translate(put_in(template, values(template)))
    after = put_in(translate(template, values(template)), values(template))
    for section in ("Resources", "Outputs"):
        assert without_hashes(before[section]) == without_hashes(after[section])


def without_hashes(part: Any) -> Any:
    """Without the hashes in the names of functions' versions: a parameter's value changes them."""
    return json.loads(re.sub(r"(FunctionVersion)[0-9a-f]{10}", r"\1", json.dumps(part)))


@pytest.mark.parametrize(
    "change",
    [
        setting("OrderUpdateFunction", MemorySize=1024),
        with_variables("OrderUpdateFunction", ORDER_TABLE="another"),
        setting("OrderCaptureLayer", Description="The order_capture package, changed."),
    ],
    ids=["a property", "a setting", "the layer with our package"],
)
def test_what_changes_a_function_publishes_a_version_of_it(change: Break) -> None:
    """By default SAM compares only a function's own code."""
    template = load_template()
    before = versions_of("OrderUpdateFunction", translate(template))
    change(template)
    assert versions_of("OrderUpdateFunction", translate(template)).isdisjoint(before)


def versions_of(function: str, template: Template) -> set[str]:
    return {
        name for name in of_type(template, "AWS::Lambda::Version") if name.startswith(f"{function}Version")
    }


def test_every_conditional_parameter_has_more_than_one_value_to_try() -> None:
    every = choices(load_template())
    assert all(len({choice[name] for choice in every}) > 1 for name in every[0])


def test_what_is_linted_covers_every_part_in_each_of_its_forms() -> None:
    linted = {id(part) for _, template in covering(decided()) for part in template["Resources"].values()}
    assert {id(part) for _, template in decided() for part in template["Resources"].values()} == linted


def test_a_finding_of_the_linter_is_reported() -> None:
    template = whole()
    queue = template["Resources"]["ShipOrderQueue"]
    queue["Properties"]["VisibilityTimeout"] = "long"
    only = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"ShipOrderQueue": queue}}
    queue["Properties"].pop("RedrivePolicy")
    assert lint(only) == [
        "E3012 Resources/ShipOrderQueue/Properties/VisibilityTimeout: 'long' is not of type 'integer'"
    ]


# ------------------------------------------------------------------------------------------------ deployments
def stage_of(template: Template) -> Any:
    return of_type(template, "AWS::ApiGateway::Stage")["ApiStage"]["DeploymentId"]


def test_another_allowed_origin_reaches_the_stage() -> None:
    """A stage points to a deployment, which never changes: a change needs a new one."""

    def allowing(origin: str) -> Choice:
        return {"AllowedOrigin": origin}

    # GIVEN a stack that was deployed for one origin
    first = translate(load_template(), allowing("https://a.example"), now=1_000)
    # WHEN it is deployed for another one, some time later
    second = translate(load_template(), allowing("https://b.example"), now=2_000)
    # THEN its stage gets another deployment
    assert stage_of(first) != stage_of(second)
