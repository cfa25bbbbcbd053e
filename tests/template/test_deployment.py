"""What CloudFormation is given keeps every rule, whatever the parameters, and every rule is seen to bite."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.support.template import Template, load_template, of_type
from tests.template import deployment_rules as rules
from tests.template.__main__ import lint
from tests.template.deployment_rules import DEPLOYMENT_RULES, DeploymentRule
from tests.template.translation import (
    Choice,
    choices,
    decided,
    decided_for_all,
    parameters_that_sam_reads,
    transaction_at,
    translate,
)

Break = Callable[[Template], Any]


@pytest.mark.parametrize("rule", DEPLOYMENT_RULES, ids=lambda rule: rule.__name__)
def test_whatever_the_parameters_are_it_holds_that(rule: DeploymentRule) -> None:
    findings = {finding: choice for choice, template in decided() for finding in rule(template)}
    assert findings == {}


def whole() -> Template:
    """The template with everything in it that may be, the caller's to break."""
    return deepcopy(max((template for _, template in decided()), key=lambda each: len(each["Resources"])))


def properties(name: str, change: Callable[[dict[str, Any]], Any]) -> Break:
    return lambda template: change(template["Resources"][name]["Properties"])


def statements(role: str, change: Callable[[list[Any]], Any]) -> Break:
    return properties(role, lambda p: change(p["Policies"][0]["PolicyDocument"]["Statement"]))


def with_managed_policy(template: Template) -> None:
    template["Resources"]["TracingPolicy"] = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Roles": [{"Ref": "ShipOrderRole"}], "PolicyDocument": {}},
    }


def third_reader(template: Template) -> None:
    mapping = template["Resources"]["LedgerPublisherFunctionStock"]
    template["Resources"]["ThirdReader"] = deepcopy(mapping)


BREAKS: list[tuple[DeploymentRule, Break, str]] = [
    (
        rules.nothing_names_what_is_not_there,
        lambda template: template["Resources"].pop("ApiGatewayAccount"),
        "ApiStage names ApiGatewayAccount, which is not there",
    ),
    (
        rules.nothing_names_what_is_not_there,
        lambda template: template["Resources"]["SocketStage"].update(DependsOn=["ApiUsagePlan"]),
        "SocketStage names ApiUsagePlan, which is not there",
    ),
    (
        rules.nothing_names_what_is_not_there,
        lambda template: template["Outputs"]["ApiId"].update(Value={"Fn::Sub": "${Gone.Arn}"}),
        "ApiId names Gone, which is not there",
    ),
    (
        rules.a_function_is_created_when_its_role_has_all_its_rights,
        with_managed_policy,
        "ShipOrderFunction is created before its role has TracingPolicy",
    ),
    (
        rules.a_traced_function_may_send_its_traces,
        statements("ShipOrderRole", lambda all_of_them: all_of_them.pop()),
        "ShipOrderFunction is traced, and its role lets it send no traces",
    ),
    (
        rules.a_stage_is_created_when_api_gateway_may_write_its_access_log,
        properties("SocketStage", lambda p: p.pop("Tags")),
        "SocketStage is created before ApiGatewayAccount lets API Gateway write its access log",
    ),
    (
        rules.a_stage_is_created_when_api_gateway_may_write_its_access_log,
        properties("ApiStage", lambda p: p.pop("Tags")),
        "ApiStage is created before ApiGatewayAccount lets API Gateway write its access log",
    ),
    (
        rules.a_web_acl_is_put_before_a_stage_that_exists,
        properties("ApiWebAclAssociation", lambda p: p.update(ResourceArn={"Fn::Sub": "${Api}/stages/v1"})),
        "ApiWebAclAssociation may be created before the stage that it names",
    ),
    (
        rules.a_client_of_the_pool_is_created_after_its_scopes,
        lambda template: template["Resources"]["CustomerClient"].pop("DependsOn"),
        "CustomerClient is created before its scope orders/read",
    ),
    (
        rules.a_stack_is_no_larger_than_cloudformation_takes,
        lambda template: template["Outputs"].update({f"More{i}": {"Value": "x"} for i in range(200)}),
        "there are more than 200 Outputs",
    ),
    (
        rules.a_functions_environment_is_no_larger_than_lambda_takes,
        properties("OrderApiFunction", lambda p: p["Environment"]["Variables"].update(MORE="x" * 4096)),
        "the environment of OrderApiFunction may have more than 4096 bytes",
    ),
    (
        rules.a_roles_policies_are_no_larger_than_iam_takes,
        statements("OrderApiRole", lambda all_of_them: all_of_them.extend(all_of_them * 12)),
        "the policies of OrderApiRole may have more than 10240 characters",
    ),
    (
        rules.an_event_source_has_no_more_filters_than_lambda_takes,
        properties(
            "ChangePublisherFunctionStream", lambda p: p.update(FilterCriteria={"Filters": [{}] * 6})
        ),
        "ChangePublisherFunctionStream has more than 5 filters",
    ),
    (
        rules.a_stream_has_two_readers_at_most,
        third_reader,
        "the stream of StockTable has more than two readers: "
        "HistoryProjectorFunctionStockStream, LedgerPublisherFunctionStock, ThirdReader",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "break_it", "complaint"), BREAKS, ids=[complaint for _, _, complaint in BREAKS]
)
def test_a_broken_deployment_is_noticed(rule: DeploymentRule, break_it: Break, complaint: str) -> None:
    # GIVEN a template that keeps the rule, broken in one place
    template = whole()
    assert list(rule(template)) == []
    break_it(template)
    # WHEN the rule is checked THEN it says so
    assert complaint in list(rule(template))


def test_every_rule_is_seen_to_bite() -> None:
    assert {rule.__name__ for rule in DEPLOYMENT_RULES} == {rule.__name__ for rule, _, _ in BREAKS}


def test_a_dependency_on_what_a_condition_leaves_out_is_noticed() -> None:
    # GIVEN a template whose stage depends on a resource that is not always there
    template = load_template()
    template["Resources"]["Api"]["DependsOn"] = "ApiGatewayAccount"
    # WHEN it is translated for all combinations of parameters
    findings = {
        (choice["ApiGatewayLogRole"], finding)
        for choice, decided_template in decided_for_all(template)
        if choice["Platform"] == "aws"
        for finding in rules.nothing_names_what_is_not_there(decided_template)
    }
    # THEN just those without it are found to be broken
    named = {finding for _, finding in findings}
    assert named == {"Api names ApiGatewayAccount, which is not there"}
    assert {role for role, _ in findings} == {"false"}


def test_a_combination_of_parameters_stands_for_all_that_a_template_may_become() -> None:
    """SAM puts in no parameter by itself: what is made of the template differs by its conditions alone."""
    assert parameters_that_sam_reads(load_template()) == []


def test_every_conditional_parameter_has_more_than_one_value_to_try() -> None:
    every = choices(load_template())
    assert all(len({choice[name] for choice in every}) > 1 for name in every[0])


def test_what_is_linted_covers_every_part_in_each_of_its_forms() -> None:
    linted = {
        id(part) for _, template in transaction_at(decided()) for part in template["Resources"].values()
    }
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
    """A stage shows a deployment, and a deployment never changes: what is new needs a new one."""

    def allowing(origin: str) -> Choice:
        return {"AllowedOrigin": origin}

    # GIVEN a stack that was deployed for one origin
    first = translate(load_template(), allowing("https://a.example"), now=1_000)
    # WHEN it is deployed for another one, some time later
    second = translate(load_template(), allowing("https://b.example"), now=2_000)
    # THEN its stage gets another deployment
    assert stage_of(first) != stage_of(second)
