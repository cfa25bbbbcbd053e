"""Rules for the translated template: what AWS refuses only during a deployment.

Each gets the translated template of one combination of parameters (translation.py), with all conditions
resolved, and reports in sentences what would fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tests.support.template import Template, of_type, refers_to
from tests.template.rulebook import (
    Rulebook,
    changing,
    changing_policy,
    setting,
    with_attributes,
    with_variables,
    without,
    without_resource,
)
from tests.template.translation import (
    Part,
    created_before,
    depends_on,
    named_by,
    once_per_part,
    referred_to,
)

DEPLOYMENT_RULES = Rulebook()
rule, broken_by = DEPLOYMENT_RULES.rule, DEPLOYMENT_RULES.broken_by

PSEUDO_PARAMETERS = "AWS::"
TRACING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}

# Quotas of CloudFormation, Lambda and IAM that cfn-lint can't check, since it does not know what an ARN or an
# address will be. Here each is as long as the longest of ours (a queue's address with its 80 characters).
RESOLVED = "x" * 160
MAX_RESOURCES, MAX_OUTPUTS, MAX_PARAMETERS = 500, 200, 200
MAX_TEMPLATE = 1024 * 1024
MAX_ENVIRONMENT = 4 * 1024  # of one function: names and values
MAX_INLINE_POLICIES = 10_240  # of one role together, without whitespace
MAX_FILTERS = 5  # of one event source mapping
# A third reader of one shard throttles the others (DynamoDB Streams, "Reading and processing a stream").
MAX_READERS_OF_A_STREAM = 2


@once_per_part
def size_of(part: Part) -> int:
    """The bytes of a part, without its name."""
    return len(json.dumps(part).encode())


def as_list(value: Any) -> list[Any]:
    """A value that may stand for a list of one, as a list."""
    return value if isinstance(value, list) else [value]


def with_managed_policy(template: Template) -> None:
    """Attaches a separate policy to a role."""
    template["Resources"]["TracingPolicy"] = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Roles": [{"Ref": "ShipOrderRole"}], "PolicyDocument": {}},
    }


def with_a_third_reader(template: Template) -> None:
    """Adds a reader to a table's stream."""
    resources = template["Resources"]
    resources["ThirdReader"] = deepcopy(resources["LedgerPublisherFunctionStock"])


# --------------------------------------------------------------------------------------------------- releases
def callers(template: Template) -> Iterator[tuple[str, Any]]:
    """Everything that calls or may call a function, and the function's name or ARN there."""
    for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"):
        for name, part in of_type(template, kind).items():
            yield name, part["FunctionName"]
    for kind, key in (("Integration", "IntegrationUri"), ("Authorizer", "AuthorizerUri")):
        for name, part in of_type(template, f"AWS::ApiGatewayV2::{kind}").items():
            yield name, part[key]
    for path, operations in template["Resources"]["Api"]["Properties"]["Body"]["paths"].items():
        for method, operation in operations.items():
            if method != "parameters" and "uri" in operation["x-amazon-apigateway-integration"]:
                yield f"{method.upper()} {path}", operation["x-amazon-apigateway-integration"]["uri"]


def names_function_itself(template: Template) -> None:
    """Makes an integration of the contract name a function without its alias."""
    integration = template["Resources"]["Api"]["Properties"]["Body"]["paths"]["/order"]["post"][
        "x-amazon-apigateway-integration"
    ]
    integration["uri"] = {"Fn::Sub": "functions/${OrderApiFunction.Arn}/invocations"}


@rule
@broken_by(names_function_itself, "POST /order calls OrderApiFunction past its alias")
@broken_by(
    setting("ShipOrderFunctionQueue", FunctionName={"Ref": "ShipOrderFunction"}),
    "ShipOrderFunctionQueue calls ShipOrderFunction past its alias",
)
@broken_by(
    setting("SocketApiPermission", FunctionName={"Ref": "SocketApiFunction"}),
    "SocketApiPermission calls SocketApiFunction past its alias",
)
def everybody_calls_a_function_by_its_alias(template: Template) -> Iterator[str]:
    """A call without the alias runs the newest code at once, tested or not."""
    there = of_type(template, "AWS::Lambda::Function")
    for name, called in callers(template):
        for function in there.keys() & {*referred_to(called)}:
            yield f"{name} calls {function} past its alias"


MAX_ALARMS_OF_A_RELEASE = 10  # CodeDeploy API reference, AlarmConfiguration


@rule
@broken_by(
    changing(
        "ShipOrderFunctionDeploymentGroup",
        lambda group: group["AlarmConfiguration"]["Alarms"].pop(),
    ),
    "a release of ShipOrderFunction is not rolled back by ShipOrderErrorAlarm",
)
@broken_by(
    with_attributes("ShipOrderFunctionAliaslive", UpdatePolicy={"CodeDeployLambdaAliasUpdate": {}}),
    "a release of ShipOrderFunction gets traffic untested",
)
@broken_by(
    with_attributes("ShipOrderFunctionAliaslive", UpdatePolicy=None),
    "a release of ShipOrderFunction gets all traffic at once",
)
@broken_by(
    changing(
        "ShipOrderFunctionDeploymentGroup",
        lambda group: group["AlarmConfiguration"]["Alarms"].extend({"Name": str(i)} for i in range(9)),
    ),
    "a release of ShipOrderFunction has more alarms than CodeDeploy takes",
)
def a_release_is_tested_and_rolled_back_by_alarms(template: Template) -> Iterator[str]:
    groups = of_type(template, "AWS::CodeDeploy::DeploymentGroup")
    if not groups:  # without traffic shifting
        return
    common = {"ApiServerErrorAlarm", "ApiLatencyAlarm", "ConflictAlarm", "OrderDlqAlarm"}
    for name in of_type(template, "AWS::Lambda::Function").keys() - {"SmokeTestFunction"}:
        policy = template["Resources"][f"{name}Aliaslive"].get("UpdatePolicy")
        if policy is None:
            yield f"a release of {name} gets all traffic at once"
            continue
        if "BeforeAllowTrafficHook" not in policy["CodeDeployLambdaAliasUpdate"]:
            yield f"a release of {name} gets traffic untested"
        alarms = groups[f"{name}DeploymentGroup"]["AlarmConfiguration"]["Alarms"]
        named = {refers_to(alarm["Name"]) or "?" for alarm in alarms}
        own = f"{name.removesuffix('Function')}ErrorAlarm"
        for missing in sorted((common | {own}) - named):
            yield f"a release of {name} is not rolled back by {missing}"
        if len(alarms) > MAX_ALARMS_OF_A_RELEASE:
            yield f"a release of {name} has more alarms than CodeDeploy takes"


# ------------------------------------------------------------------------------------------ order of creation
@rule
@broken_by(without_resource("ApiGatewayAccount"), "ApiStage names ApiGatewayAccount, which is not there")
@broken_by(
    with_attributes("SocketStage", DependsOn=["ApiUsagePlan"]),
    "SocketStage names ApiUsagePlan, which is not there",
)
@broken_by(
    lambda template: template["Outputs"]["ApiId"].update(Value={"Fn::Sub": "${Gone.Arn}"}),
    "ApiId names Gone, which is not there",
)
def nothing_names_what_is_not_there(template: Template) -> Iterator[str]:
    there = template["Resources"].keys() | template["Parameters"].keys()
    for section in ("Resources", "Outputs"):
        for name, part in template[section].items():
            for other in sorted({*named_by(part), *depends_on(part)} - there):
                if not other.startswith(PSEUDO_PARAMETERS):
                    yield f"{name} names {other}, which is not there"


@rule
@broken_by(with_managed_policy, "ShipOrderFunction is created before its role has TracingPolicy")
def a_function_is_created_when_its_role_has_all_its_rights(template: Template) -> Iterator[str]:
    """Lambda checks the role when it creates the function; the mappings of its queues follow at once."""
    attached: dict[str, list[str]] = {}
    for kind in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::RolePolicy"):
        for name, policy in of_type(template, kind).items():
            for role in policy.get("Roles", [policy.get("RoleName")]):
                attached.setdefault(refers_to(role) or "?", []).append(name)
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        for late in {*attached.get(refers_to(function["Role"]) or "?", [])} - created_before(template, name):
            yield f"{name} is created before its role has {late}"


@rule
@broken_by(
    changing_policy("ShipOrderRole", lambda every: every.pop()),
    "ShipOrderFunction is traced, and its role lets it send no traces",
)
def a_traced_function_may_send_its_traces(template: Template) -> Iterator[str]:
    """Lambda refuses to create one that may not."""
    roles = of_type(template, "AWS::IAM::Role")
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        if function.get("TracingConfig", {}).get("Mode") != "Active":
            continue
        allowed = {
            action
            for policy in roles[refers_to(function["Role"]) or "?"].get("Policies", [])
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Resource"] == "*"
            for action in as_list(statement["Action"])
        }
        if not allowed >= TRACING:
            yield f"{name} is traced, and its role lets it send no traces"


@rule
@broken_by(
    without("SocketStage", "Tags"),
    "SocketStage is created before ApiGatewayAccount lets API Gateway write its access log",
)
@broken_by(
    without("ApiStage", "Tags"),
    "ApiStage is created before ApiGatewayAccount lets API Gateway write its access log",
)
def a_stage_is_created_when_api_gateway_may_write_its_access_log(template: Template) -> Iterator[str]:
    for kind, key in (
        ("AWS::ApiGateway::Stage", "AccessLogSetting"),
        ("AWS::ApiGatewayV2::Stage", "AccessLogSettings"),
    ):
        for name, stage in of_type(template, kind).items():
            for account in of_type(template, "AWS::ApiGateway::Account"):
                if key in stage and account not in created_before(template, name):
                    yield f"{name} is created before {account} lets API Gateway write its access log"


@rule
@broken_by(
    setting("ApiWebAclAssociation", ResourceArn={"Fn::Sub": "${Api}/stages/v1"}),
    "ApiWebAclAssociation may be created before the stage that it names",
)
def a_web_acl_is_put_before_a_stage_that_exists(template: Template) -> Iterator[str]:
    for name, association in of_type(template, "AWS::WAFv2::WebACLAssociation").items():
        if refers_to(association["ResourceArn"]) == "UserPool":
            continue
        if not created_before(template, name) & of_type(template, "AWS::ApiGateway::Stage").keys():
            yield f"{name} may be created before the stage that it names"


@rule
@broken_by(
    with_attributes("CustomerClient", DependsOn=None),
    "CustomerClient is created before its scope orders/read",
)
def a_client_of_the_pool_is_created_after_its_scopes(template: Template) -> Iterator[str]:
    servers = of_type(template, "AWS::Cognito::UserPoolResourceServer")
    for name, client in of_type(template, "AWS::Cognito::UserPoolClient").items():
        before = created_before(template, name)
        there = {
            f"{server['Identifier']}/{scope['ScopeName']}"
            for server_name, server in servers.items()
            if server_name in before
            for scope in server["Scopes"]
        }
        for scope in client["AllowedOAuthScopes"]:
            if scope not in there:
                yield f"{name} is created before its scope {scope}"


# ----------------------------------------------------------------------------------------------------- limits
@rule
@broken_by(
    lambda template: template["Outputs"].update({f"More{i}": {"Value": "x"} for i in range(200)}),
    "there are more than 200 Outputs",
)
def a_stack_is_no_larger_than_cloudformation_takes(template: Template) -> Iterator[str]:
    for section, most in (
        ("Resources", MAX_RESOURCES),
        ("Outputs", MAX_OUTPUTS),
        ("Parameters", MAX_PARAMETERS),
    ):
        if len(template[section]) > most:
            yield f"there are more than {most} {section}"
    parts = [part for section in ("Resources", "Outputs") for part in template[section].values()]
    if sum(map(size_of, parts)) > MAX_TEMPLATE:
        yield f"the template has more than {MAX_TEMPLATE} bytes"


@rule
@broken_by(
    with_variables("OrderApiFunction", MORE="x" * 4096),
    "the environment of OrderApiFunction may have more than 4096 bytes",
)
def a_functions_environment_is_no_larger_than_lambda_takes(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        variables = function.get("Environment", {}).get("Variables", {})
        size = sum(len(key) + len(_resolved(value)) for key, value in variables.items())
        if size > MAX_ENVIRONMENT:
            yield f"the environment of {name} may have more than {MAX_ENVIRONMENT} bytes"


@rule
@broken_by(
    changing_policy("OrderApiRole", lambda every: every.extend(every * 12)),
    "the policies of OrderApiRole may have more than 10240 characters",
)
def a_roles_policies_are_no_larger_than_iam_takes(template: Template) -> Iterator[str]:
    for name, role in of_type(template, "AWS::IAM::Role").items():
        documents = [_with_resolved(policy["PolicyDocument"]) for policy in role.get("Policies", [])]
        size = len(json.dumps(documents, separators=(",", ":")))
        if size > MAX_INLINE_POLICIES:
            yield f"the policies of {name} may have more than {MAX_INLINE_POLICIES} characters"


@rule
@broken_by(
    setting("ChangePublisherFunctionStream", FilterCriteria={"Filters": [{}] * 6}),
    "ChangePublisherFunctionStream has more than 5 filters",
)
def an_event_source_has_no_more_filters_than_lambda_takes(template: Template) -> Iterator[str]:
    for name, mapping in of_type(template, "AWS::Lambda::EventSourceMapping").items():
        if len(mapping.get("FilterCriteria", {}).get("Filters", [])) > MAX_FILTERS:
            yield f"{name} has more than {MAX_FILTERS} filters"


@rule
@broken_by(
    with_a_third_reader,
    "the stream of StockTable has more than two readers: "
    "HistoryProjectorFunctionStockStream, LedgerPublisherFunctionStock, ThirdReader",
)
def a_stream_has_two_readers_at_most(template: Template) -> Iterator[str]:
    readers: dict[str, list[str]] = {}
    for name, mapping in of_type(template, "AWS::Lambda::EventSourceMapping").items():
        match mapping["EventSourceArn"]:
            case {"Fn::GetAtt": [str(table), "StreamArn"]}:
                readers.setdefault(table, []).append(name)
    for table, names in readers.items():
        if len(names) > MAX_READERS_OF_A_STREAM:
            yield f"the stream of {table} has more than two readers: {', '.join(sorted(names))}"


def _resolved(value: Any) -> str:
    """A value as text, with each reference at its maximum length."""
    match value:
        case {"Fn::Sub": str(text)}:
            return text + RESOLVED
        case dict():
            return RESOLVED
    return str(value)


def _with_resolved(part: Any) -> Any:
    match part:
        case {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::Sub": _}:
            return _resolved(part)
        case dict():
            return {key: _with_resolved(inner) for key, inner in part.items()}
        case list():
            return [_with_resolved(inner) for inner in part]
    return part
