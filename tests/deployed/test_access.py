"""Every function can do only what its role allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.deployed.shop import QUEUES, StackClient, body_of, eventually
from tests.support.target import needs_own_engine

FED = (*QUEUES, "OrderWatch", "WebhookDispatcher", "WebhookSender", "WebhookSlow", "SocketPusher", "Report")
SETTLED = ("OrderTable", "AccountTable", "StockTable")
TABLES = (*SETTLED, "WebhookTable")
TRIED_TABLES = (*TABLES, "ConnectionTable", "ReportTable", "HistoryTable")
READ_WRITE = {"GetItem", "PutItem", "UpdateItem"}
KEEPS_SETS = {"GetItem", "UpdateItem", "DeleteItem"}

# The calls below that each role allows; all others are denied.
ALLOWED = {
    "OrderApi": {f"{action} OrderTable" for action in READ_WRITE} | {"GetItem ReportTable"},
    "OrderReader": {"GetItem OrderTable"},
    "AccountApi": {f"{action} AccountTable" for action in READ_WRITE},
    "StockApi": {f"{action} StockTable" for action in READ_WRITE},
    "BalanceChecker": {f"{action} AccountTable" for action in READ_WRITE} | {"ReceiveMessage BalanceChecker"},
    "StockChecker": {f"{action} StockTable" for action in READ_WRITE} | {"ReceiveMessage StockChecker"},
    "OrderUpdate": {"GetItem OrderTable", "UpdateItem OrderTable", "ReceiveMessage OrderUpdate"},
    "ShipOrder": {f"UpdateItem {table}" for table in SETTLED} | {"ReceiveMessage ShipOrder"},
    "ChangePublisher": {"GetItem WebhookTable", "GetItem ConnectionTable"},
    "LedgerPublisher": {"GetItem AccountTable", "GetItem StockTable"},
    "HistoryProjector": {"BatchWriteItem HistoryTable"},
    "OrderWatchdog": {"GetItem OrderTable", "UpdateItem OrderTable", "ReceiveMessage OrderWatch"},
    "WebhookApi": {f"{action} WebhookTable" for action in READ_WRITE | {"DeleteItem"}},
    "WebhookDispatcher": {
        "GetItem WebhookTable",
        "PutItem WebhookTable",
        "UpdateItem WebhookTable",
        "ReceiveMessage WebhookDispatcher",
    },
    "WebhookSender": {
        "GetItem WebhookTable",
        "UpdateItem WebhookTable",
        "ReceiveMessage WebhookSender",
        "ReceiveMessage WebhookSlow",
    },
    "SocketAuthorizer": set(),
    "SocketApi": {"GetItem OrderTable"} | {f"{each} ConnectionTable" for each in KEEPS_SETS},
    "SocketPusher": {
        *(f"{each} ConnectionTable" for each in KEEPS_SETS),
        "ReceiveMessage SocketPusher",
        "PostToConnection",
    },
    "ReportProjector": {f"{action} ReportTable" for action in READ_WRITE} | {"ReceiveMessage Report"},
    "ReportsApi": {"GetItem ReportTable"},
    "OperationsApi": set(),
    "Console": set(),
}
SENDS = {
    "BalanceChecker": ["SendMessage OrderUpdate"],
    "StockChecker": ["SendMessage OrderUpdate"],
    "OrderUpdate": ["SendMessage ShipOrder"],
    "ChangePublisher": ["SendMessage OrderWatch"],
    "OrderWatchdog": ["SendMessage OrderWatch", "SendMessage ShipOrder"],
    "WebhookApi": ["SendMessage WebhookSender"],
    "WebhookDispatcher": ["SendMessage WebhookSender", "SendMessage WebhookSlow"],
    "WebhookSender": ["SendMessage WebhookSender", "SendMessage WebhookSlow"],
    "OperationsApi": [f"SendMessage {queue}" for queue in FED if queue != "WebhookSlow"],
}


@pytest.mark.parametrize("function", ALLOWED)
@needs_own_engine("it assumes the functions' roles, which trust Lambda alone")
def test_a_functions_role_reaches_what_the_function_needs_and_nothing_else(
    shop: StackClient, function: str
) -> None:
    # given
    role = _client(shop.aws, "lambda", shop).get_function_configuration(
        FunctionName=shop.outputs[f"{function}FunctionName"]
    )["Role"]
    # The roles trust only Lambda. The engine treats its own administrator, which we are, as such a service;
    # on AWS this would be refused, and the policy simulator would show what a role allows.
    assumed = _client(shop.aws, "sts", shop).assume_role(RoleArn=role, RoleSessionName=function)
    credentials = assumed["Credentials"]
    session = boto3.Session(
        credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]
    )
    shop.come_to_rest()
    # when
    attempts = _attempts(shop, session)
    for sending in SENDS.get(function, ()):
        del attempts[sending]  # the orders that ship show that it may; a message from here would be poison
    allowed = {what for what, attempt in attempts.items() if _is_allowed(attempt)}
    # then
    assert allowed == ALLOWED[function]


def _attempts(shop: StackClient, session: boto3.Session) -> dict[str, Callable[[], object]]:
    """The attempted calls. Allowed ones change nothing: their conditions never hold."""
    tables, queues = _client(session, "dynamodb", shop), _client(session, "sqs", shop)
    stage = f"{shop.endpoint}/_aws/execute-api/{shop.outputs['SocketId']}/{shop.outputs['ApiStage']}"
    sockets = session.client(
        "apigatewaymanagementapi", endpoint_url=stage, region_name=shop.outputs["region"]
    )
    attempts: dict[str, Callable[[], object]] = {
        "PostToConnection": partial(sockets.post_to_connection, ConnectionId="nobody", Data=b"."),
        "GetConnection": partial(sockets.get_connection, ConnectionId="nobody"),
        "DeleteConnection": partial(sockets.delete_connection, ConnectionId="nobody"),
    }
    for table in TRIED_TABLES:
        name = shop.outputs.get(f"{table}Name") or shop.outputs[f"{table}Id"]
        schema = _client(shop.aws, "dynamodb", shop).describe_table(TableName=name)["Table"]["KeySchema"]
        key = {each["AttributeName"]: {"S": "nobody"} for each in schema}
        never = {"TableName": name, "ConditionExpression": f"attribute_exists({schema[0]['AttributeName']})"}
        attempts |= {
            f"GetItem {table}": partial(tables.get_item, TableName=name, Key=key),
            f"PutItem {table}": partial(tables.put_item, Item=key, **never),
            f"UpdateItem {table}": partial(tables.update_item, Key=key, **never),
            f"DeleteItem {table}": partial(tables.delete_item, Key=key, **never),
            f"Scan {table}": partial(tables.scan, TableName=name, Limit=1),
            f"BatchWriteItem {table}": partial(
                tables.batch_write_item, RequestItems={name: [{"DeleteRequest": {"Key": key}}]}
            ),
        }
    for queue in FED:
        url = shop.outputs[f"{queue}QueueUrl"]
        attempts |= {
            f"ReceiveMessage {queue}": partial(queues.receive_message, QueueUrl=url),
            f"PurgeQueue {queue}": partial(queues.purge_queue, QueueUrl=url),
            f"SendMessage {queue}": partial(queues.send_message, QueueUrl=url, MessageBody="{}"),
        }
    return attempts


def _is_allowed(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except ClientError as error:
        return not error.response["Error"]["Code"].startswith("AccessDenied")
    return True


@needs_own_engine("it breaks a function for a while")
def test_an_internal_error_is_logged_and_not_sent_to_the_client(shop: StackClient) -> None:
    # given: stock_api uses the wrong table, which its role does not allow
    pen = shop.new_product(1)
    with _environment(shop, "StockApi", STOCK_TABLE=shop.outputs["AccountTableName"]):
        # when
        answer = eventually(lambda: shop.get(f"/stock/{pen}"), lambda answer: answer.status_code != 200)
    # then
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = body_of(answer)
    assert problem.keys() == {"type", "title", "status", "detail", "requestId"}
    assert problem["type"] == "urn:order-capture:problem:internal-error"
    for inside in ("AccessDenied", "dynamodb", "arn:", "StockApiRole", "Traceback", "boto"):
        assert inside not in answer.text
    lines = eventually(lambda: shop.log_lines("StockApi", problem["requestId"]), bool)
    assert any("AccessDeniedException" in line for line in lines)
    # and with its own table back it works again
    restored = eventually(lambda: shop.get(f"/stock/{pen}"), lambda answer: answer.status_code == 200)
    assert restored.status_code == 200


@contextmanager
def _environment(shop: StackClient, function: str, **changed: str) -> Iterator[None]:
    """Change a function's environment for a block, in a version that the alias points to."""
    client, name = _client(shop.aws, "lambda", shop), shop.outputs[f"{function}FunctionName"]
    deployed = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    released = client.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": deployed | changed})
    version = client.publish_version(FunctionName=name)["Version"]
    client.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    try:
        yield
    finally:
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=released)
        client.update_function_configuration(FunctionName=name, Environment={"Variables": deployed})


def _client(session: boto3.Session, service: Any, shop: StackClient) -> Any:
    return session.client(service, endpoint_url=shop.endpoint, region_name=shop.outputs["region"])
