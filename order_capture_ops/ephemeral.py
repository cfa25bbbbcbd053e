"""Delete what a deleted ephemeral stack leaves behind: its tables and user pool, which other stacks keep.

`deploy.sh --delete --stack NAME` calls it once the stack itself is gone, and it can be repeated.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import boto3

from order_capture_ops.cli import Parser, console, run
from order_capture_ops.errors import UsageError

PREFIX = "order-capture-ci-"
"""Only stacks with such a name are ephemeral: a typo can't reach the data of any other."""

_NAME = re.compile(rf"{PREFIX}[A-Za-z0-9-]+")
_TABLE, _USER_POOL = "AWS::DynamoDB::Table", "AWS::Cognito::UserPool"

Clients = Callable[[str], Any]


def delete_leftovers(name: str, clients: Clients) -> list[str]:
    """Delete the tables and user pools of all deleted stacks of this name; returns what was deleted.

    Raises:
        UsageError: the name is not an ephemeral stack's, or a stack of this name still exists.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name} is not an ephemeral stack: their names begin with {PREFIX}")
    cloudformation = clients("cloudformation")
    stacks = [stack for stack in _stacks(cloudformation) if stack["StackName"] == name]
    if left := [stack["StackStatus"] for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"]:
        raise UsageError(f"The stack {name} is {left[0]}: delete it first.")
    deleted = []
    for stack in stacks:
        for kind, physical_id in _kept(cloudformation, stack["StackId"]):
            if kind == _TABLE and _delete_table(clients("dynamodb"), physical_id):
                deleted.append(physical_id)
            if kind == _USER_POOL and _delete_user_pool(clients("cognito-idp"), physical_id):
                deleted.append(physical_id)
    return deleted


def _stacks(cloudformation: Any) -> Iterator[dict[str, Any]]:
    # CloudFormation lists deleted stacks, and their events, for 90 days.
    for page in cloudformation.get_paginator("list_stacks").paginate():
        yield from page["StackSummaries"]


def _kept(cloudformation: Any, stack_id: str) -> Iterator[tuple[str, str]]:
    """Resources that the stack retained, since its template keeps them; also those an update replaced."""
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id):
        for event in page["StackEvents"]:
            if event["ResourceStatus"] == "DELETE_SKIPPED":
                yield event["ResourceType"], event["PhysicalResourceId"]


def _delete_table(dynamodb: Any, name: str) -> bool:
    """Delete a table, unless it is gone. A table with deletion protection is an error.

    On the local engine all have it: it takes the text "false" for true.
    """
    try:
        if dynamodb.meta.endpoint_url.startswith("http://127.0.0.1:"):
            dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=name)
    except dynamodb.exceptions.ResourceNotFoundException:
        return False
    return True


def _delete_user_pool(cognito: Any, pool: str) -> bool:
    try:
        cognito.delete_user_pool(UserPoolId=pool)
    except cognito.exceptions.ResourceNotFoundException:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """`python -m order_capture_ops.ephemeral NAME`."""
    parser = Parser(
        prog="python -m order_capture_ops.ephemeral",
        description="Deletes the tables and the user pool that a deleted ephemeral stack has left.",
        example=f"python -m order_capture_ops.ephemeral {PREFIX}1234",
    )
    parser.add_argument("name", metavar="NAME", help=f"the stack, whose name begins with {PREFIX}")
    options = parser.parse_args(arguments)
    clients: Any = boto3.Session().client
    return run(lambda: _report(delete_leftovers(options.name, clients)))


def _report(deleted: list[str]) -> int:
    for physical_id in deleted:
        console.print(f"  deleted {physical_id}", markup=False)
    if not deleted:
        console.print("  Nothing was left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
