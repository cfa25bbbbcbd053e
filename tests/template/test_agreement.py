"""template.yaml, swagger.yaml, handlers, event files, layers and samconfig.toml agree."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from order_capture.application.webhooks.deliver_webhooks import CLAIM_SECONDS
from order_capture.domain.webhooks import SLOTS
from order_capture.entrypoints.callers import OPERATORS
from order_capture.entrypoints.http.pages import SCOPES
from order_capture_ops.ephemeral import PREFIX
from tests.support.template import ROOT, functions, load_template, of_type
from tests.template import alarms

Routes = dict[tuple[str, str], str]  # (method, path) -> the function's logical id

ANY = "x-amazon-apigateway-any-method"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", ANY}
ENVIRONMENTS = ("default", "local", "dev", "ci", "prod")


def routes_of_the_template(template: dict[str, Any]) -> Routes:
    return {
        (event["Properties"]["Method"].upper(), event["Properties"]["Path"]): name
        for name, function in functions(template).items()
        for event in function.get("Events", {}).values()
        if event["Type"] == "Api"
    }


def routes_of_the_contract(contract: dict[str, Any]) -> Routes:
    """The routes that reach a function; the gateway itself responds to the others."""
    routes = {}
    for path, operations in contract["paths"].items():
        for method in METHODS & operations.keys():
            if operations[method]["x-amazon-apigateway-integration"]["type"] == "mock":
                continue
            uri = operations[method]["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
            (name,) = re.findall(r"functions/\$\{(\w+)Aliaslive\}/invocations$", uri)
            routes["ANY" if method == ANY else method.upper(), path] = name
    return routes


def callers_of(routes: Routes) -> set[tuple[str, str]]:
    """The function of each path."""
    return {(path, name) for (_, path), name in routes.items()}


def routes_of_the_handlers(template: dict[str, Any]) -> Routes:
    routes: Routes = {}
    for name, function in functions(template).items():
        if any(event["Type"] == "Api" for event in function.get("Events", {}).values()):
            module = importlib.import_module(function["CodeUri"].replace("/", ".") + ".app")
            handled = {route for route in module.app.routes if route[0] != "HEAD"}  # answered as GET is
            assert not routes.keys() & handled, "two functions claim one route"
            routes.update(dict.fromkeys(handled, name))
    return routes


def contract() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "swagger.yaml").read_text(encoding="utf-8"))
    return loaded


def samconfig() -> dict[str, Any]:
    return tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))


def overrides(environment: str) -> dict[str, str]:
    pairs = samconfig()[environment]["deploy"]["parameters"].get("parameter_overrides", [])
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_contract_sends_each_route_to_the_function_that_the_template_lets_it_call() -> None:
    template = routes_of_the_template(load_template())
    assert callers_of(routes_of_the_contract(contract())) == callers_of(template)
    assert {method for method, _ in template} == {"ANY"}, "which is permission for every method of a path"


def test_the_handlers_answer_exactly_the_routes_that_the_contract_has() -> None:
    routes = routes_of_the_contract(contract())
    named = {route: name for route, name in routes.items() if route[0] != "ANY"}
    # The console's page is public, and no operation of the contract.
    pages = {("GET", path): name for (_, path), name in routes.items() if name == "ConsoleFunction"}
    assert routes_of_the_handlers(load_template()) == named | pages
    assert not named.keys() & pages.keys()


def test_a_function_answers_for_what_its_paths_do_not_have() -> None:
    routes = routes_of_the_contract(contract())
    assert {path for method, path in routes if method == "ANY"} == {path for _, path in routes}
    # GET's function also handles HEAD and unsupported methods, since it knows the path's methods.
    assert len(callers_of(routes)) == len({path for _, path in routes})


def test_the_console_asks_for_the_scopes_that_its_client_may_have_which_are_all() -> None:
    clients = of_type(load_template(), "AWS::Cognito::UserPoolClient")
    servers = of_type(load_template(), "AWS::Cognito::UserPoolResourceServer").values()
    every = {
        f"{server['Identifier']}/{scope['ScopeName']}" for server in servers for scope in server["Scopes"]
    }
    assert set(SCOPES) == set(clients["ConsoleClient"]["AllowedOAuthScopes"]) == every
    assert set(clients["ServiceClient"]["AllowedOAuthScopes"]) == every


def test_only_the_console_needs_no_token() -> None:
    public = {
        name
        for path, operations in contract()["paths"].items()
        for method, operation in operations.items()
        if method in METHODS - {"options"} and not operation["security"] and path != "/{proxy+}"
        for (_, of), name in routes_of_the_contract(contract()).items()
        if of == path
    }
    assert public == {"ConsoleFunction"}


def test_operators_are_the_group_that_the_template_has() -> None:
    (group,) = of_type(load_template(), "AWS::Cognito::UserPoolGroup").values()
    assert group["GroupName"] == OPERATORS


def test_a_route_that_only_the_contract_knows_is_noticed() -> None:
    # GIVEN a contract with one more operation
    extended = contract()
    extended["paths"]["/refund"] = {"post": extended["paths"]["/order"]["post"]}
    # THEN it no longer agrees with the template
    assert callers_of(routes_of_the_contract(extended)) - callers_of(
        routes_of_the_template(load_template())
    ) == {("/refund", "OrderApiFunction")}


@pytest.mark.parametrize(
    "function", functions(load_template()).values(), ids=functions(load_template()).keys()
)
def test_every_function_has_its_code_and_an_event_to_try_it_with(function: dict[str, Any]) -> None:
    folder = ROOT / function["CodeUri"]
    assert (folder / "app.py").is_file()
    event = json.loads((ROOT / "events" / f"{folder.name}.json").read_text(encoding="utf-8"))
    # an event of the kind that the function gets
    expected = {"SQS": "Records", "DynamoDB": "Records", "Api": "httpMethod"}
    # Those of the WebSocket API are no events to SAM, which does not know it.
    kinds = {expected[source["Type"]] for source in function.get("Events", {}).values()}
    # CodeDeploy calls its hook itself.
    others = {"DeploymentId"} if folder.name == "smoke_test" else {"requestContext"}
    assert (kinds or others) <= event.keys()


def test_every_folder_of_functions_is_in_the_template() -> None:
    folders = {f"functions/{path.parent.name}" for path in (ROOT / "functions").glob("*/app.py")}
    assert folders == {function["CodeUri"] for function in functions(load_template()).values()}


@pytest.mark.parametrize("layer", ["dependencies", "order_capture", "tokens"])
def test_the_layers_are_built_for_the_runtime(layer: str) -> None:
    makefile = (ROOT / "layers" / layer / "Makefile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^RUNTIME_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert load_template()["Globals"]["Function"]["Runtime"] == f"python{version}"


def test_the_functions_bring_no_packages_of_their_own() -> None:
    # sam would build them with an interpreter of exactly the Runtime's version, which few machines have
    assert not list((ROOT / "functions").glob("*/requirements.txt"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_sets_parameters_that_exist_to_values_they_may_have(environment: str) -> None:
    parameters = load_template()["Parameters"]
    for name, value in overrides(environment).items():
        allowed = [str(choice) for choice in parameters[name].get("AllowedValues", [value])]
        assert value in allowed
        if parameters[name]["Type"] == "Number":
            least, most = (parameters[name].get(bound, value) for bound in ("MinValue", "MaxValue"))
            assert int(least) <= int(value) <= int(most)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_lints_and_may_include_the_contract(environment: str) -> None:
    commands = samconfig()[environment]
    assert commands["validate"]["parameters"]["lint"] is True
    assert commands["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"
    assert commands["deploy"]["parameters"]["resolve_s3"] is True


def test_each_environment_has_a_stack_of_its_own() -> None:
    stacks = {samconfig()[environment]["global"]["parameters"]["stack_name"] for environment in ENVIRONMENTS}
    assert len(stacks) == len(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_what_is_uploaded_for_a_stack_is_its_own(environment: str) -> None:
    settings = samconfig()[environment]
    assert settings["deploy"]["parameters"]["s3_prefix"] == settings["global"]["parameters"]["stack_name"]


def test_only_the_local_environment_has_what_only_the_local_engine_needs() -> None:
    assert [name for name in ENVIRONMENTS if overrides(name).get("Platform", "aws") != "aws"] == ["local"]


def test_production_is_protected_and_asks_before_it_changes() -> None:
    assert overrides("prod")["DeletionProtection"] == "true"
    assert samconfig()["prod"]["deploy"]["parameters"]["confirm_changeset"] is True


def test_what_is_deleted_after_its_tests_neither_protects_its_tables_nor_sets_what_is_the_accounts() -> None:
    assert overrides("ci").get("DeletionProtection", "false") == "false"
    assert overrides("ci")["ApiGatewayLogRole"] == "false"
    assert samconfig()["ci"]["global"]["parameters"]["stack_name"] == PREFIX.removesuffix("-")


@pytest.mark.parametrize("environment", ["dev", "ci", "prod"])
def test_what_runs_on_aws_runs_on_arm(environment: str) -> None:
    assert overrides(environment)["Architecture"] == "arm64"


def test_a_sender_of_webhooks_is_taken_for_dead_only_when_it_is() -> None:
    """A sender that finds a claim expired sends the webhook again, so no other may still be sending it."""
    assert functions(load_template())["WebhookSenderFunction"]["Timeout"] < CLAIM_SECONDS


def test_one_customer_leaves_senders_of_each_lane_to_the_others() -> None:
    assert load_template()["Parameters"]["MaximumConcurrency"]["MinValue"] > max(SLOTS.values())


def test_the_runbook_says_what_to_do_about_each_alarm() -> None:
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    names = {name for kind in kinds for name in of_type(load_template(), kind)}
    runbook = (ROOT / "docs/how-to/runbook.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+Alarm)`", runbook)) == names


def test_the_page_of_all_alarms_is_up_to_date() -> None:
    assert alarms.PAGE.read_text(encoding="utf-8") == alarms.page(), "make alarms"
