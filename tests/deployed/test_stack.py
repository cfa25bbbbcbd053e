"""The deployed stack, and a repeated deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from local import stack
from local.engine import Engine
from tests.deployed.shop import Balances, StackClient
from tests.support.target import needs_own_engine
from tests.support.template import load_template
from tests.template.translation import holds


def test_every_output_of_the_template_names_something_that_exists(shop: StackClient) -> None:
    # given
    def client(service: Any) -> Any:
        return shop.aws.client(service, endpoint_url=shop.endpoint)

    (deployed,) = client("cloudformation").describe_stacks(StackName=shop.outputs["stackName"])["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in deployed["Outputs"]}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in deployed["Parameters"]}
    template = load_template()
    assert outputs.keys() == {
        name
        for name, output in template["Outputs"].items()
        if "Condition" not in output or holds(output["Condition"], template["Conditions"], parameters)
    }

    def log_group(name: str) -> object:
        groups = client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        assert name in [group["logGroupName"] for group in groups]
        return groups

    region = shop.outputs["region"]
    api, stage, pool = outputs["ApiId"], outputs["ApiStage"], outputs["UserPoolId"]
    domain = client("cognito-idp").describe_user_pool(UserPoolId=pool)["UserPool"]["Domain"]
    sign_in = f"https://{domain}.auth.{region}.amazoncognito.com/oauth2"
    look_up: Mapping[str, Callable[[str], object]] = {
        "TableName": lambda name: client("dynamodb").describe_table(TableName=name),
        "QueueUrl": lambda url: client("sqs").get_queue_attributes(QueueUrl=url),
        "DlqUrl": lambda url: client("sqs").get_queue_attributes(QueueUrl=url),
        "TopicArn": lambda arn: client("sns").get_topic_attributes(TopicArn=arn),
        "FunctionName": lambda name: client("lambda").get_function(FunctionName=name),
        "LogGroupName": log_group,
        "DashboardName": lambda name: client("cloudwatch").get_dashboard(DashboardName=name),
        "SocketId": lambda name: client("apigatewayv2").get_api(ApiId=name),
        "TableId": lambda name: client("dynamodb").describe_table(TableName=name),
        "ApiId": lambda name: client("apigateway").get_rest_api(restApiId=name),
        "ApiStage": lambda name: client("apigateway").get_stage(restApiId=api, stageName=name),
        "UserPoolId": lambda name: client("cognito-idp").describe_user_pool(UserPoolId=name),
        "ClientId": lambda name: client("cognito-idp").describe_user_pool_client(
            UserPoolId=pool, ClientId=name
        ),
    }
    console = f"{outputs['ApiUrl']}/console"
    # then
    assert outputs.pop("ConsoleUrl", console) == console
    assert outputs.pop("ApiUrl") == f"https://{api}.execute-api.{region}.amazonaws.com/{stage}"
    socket = outputs["SocketId"]
    assert outputs.pop("SocketUrl") == f"wss://{socket}.execute-api.{region}.amazonaws.com/{stage}"
    assert outputs.pop("OrderRetentionDays") == parameters["OrderRetentionDays"]  # for `make close-books`
    assert outputs.pop("TokenUrl") == f"{sign_in}/token"
    assert outputs.pop("SignInUrl") == f"{sign_in}/authorize"
    for name, value in outputs.items():
        (kind,) = [suffix for suffix in look_up if name.endswith(suffix)]
        look_up[kind](value)  # raises for what does not exist


def test_the_description_says_where_the_api_is(shop: StackClient, engine: Engine) -> None:
    assert shop.outputs["endpointUrl"] == engine.url
    assert shop.outputs["region"] == "us-east-1"
    assert shop.outputs["apiUrl"] == f"{engine.url}/v1"
    assert shop.outputs["consoleUrl"] == engine.console_url
    assert shop.outputs["consoleUrl"].startswith(f"{engine.url}/v1/console#key=")
    assert shop.outputs["tokenUrl"].startswith(engine.url)
    assert shop.outputs["socketUrl"] == f"ws://127.0.0.1:{engine.port}/ws/v1"


@needs_own_engine("its addresses are the engine's")
def test_the_description_has_no_address_that_does_not_work_here(shop: StackClient) -> None:
    assert [
        name for name, value in shop.outputs.items() if "amazonaws" in value or "amazoncognito" in value
    ] == []
    assert len({name.lower() for name in shop.outputs}) == len(shop.outputs)


def test_the_api_is_also_reached_by_its_id(shop: StackClient, engine: Engine) -> None:
    # given
    alice = shop.new_customer("10.00")
    by_id = f"{engine.url}/_aws/execute-api/{shop.outputs['ApiId']}/{shop.outputs['ApiStage']}"
    # when
    answer = httpx.get(f"{by_id}/account/{alice}", headers={"Authorization": shop.bearer()}, trust_env=False)
    # then
    assert answer.json() == shop.get(f"/account/{alice}").json()


def test_deploying_again_with_nothing_changed_leaves_everything_as_it_is(
    shop: StackClient, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a proxy for the world outside, which nothing on this machine has to do with
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    alice, pen = shop.new_customer("10.00"), shop.new_product(5)
    before = shop.ended(shop.place(alice, {pen: 1}, "1.00"))
    # when
    again = stack.deploy(engine, tmp_path / "deploy.log")
    # then
    assert again == dict(shop.outputs)
    assert shop.order(before["orderId"]) == before
    assert shop.ended(shop.place(alice, {pen: 1}, "1.00"))["status"] == "SHIPPED"
    shop.come_to_rest()
    assert shop.money(alice) == Balances.of("8.00", settled="2.00")
