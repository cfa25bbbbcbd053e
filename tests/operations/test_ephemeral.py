"""An ephemeral stack's retained resources are deleted, and never those of another stack."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from order_capture_ops.ephemeral import delete_leftovers, main
from order_capture_ops.errors import UsageError

NAME = "order-capture-ci-7"


class FakeAws:
    """CloudFormation's record of stacks, and the tables and user pools that exist."""

    def __init__(self) -> None:
        self.stacks: list[tuple[str, str, str]] = []
        self.resources: dict[str, list[tuple[str, str, str]]] = {}
        self.existing: set[str] = set()
        clients = boto3.Session(region_name="us-east-1")
        self.exceptions = {
            "dynamodb": clients.client("dynamodb").exceptions,
            "cognito-idp": clients.client("cognito-idp").exceptions,
        }

    def add(self, name: str, status: str, *kept: str) -> None:
        """A stack, whose other resources were deleted with it."""
        stack_id = f"arn:stack/{name}/{len(self.stacks)}"
        self.stacks.append((name, stack_id, status))
        self.existing.update(kept)
        self.resources[stack_id] = [("AWS::DynamoDB::Table", "connections", "DELETE_COMPLETE")]
        self.existing.add("connections")  # as if another stack had this table now
        for physical_id in kept:
            kind = "AWS::Cognito::UserPool" if "pool" in physical_id else "AWS::DynamoDB::Table"
            self.resources[stack_id].append((kind, physical_id, "DELETE_SKIPPED"))

    def clients(self, service: str) -> Any:
        return _FakeClient(self, service)


class _FakeClient:
    def __init__(self, aws: FakeAws, service: str) -> None:
        self._aws = aws
        self._operation = ""
        self.exceptions = aws.exceptions.get(service)
        self.meta = SimpleNamespace(endpoint_url=f"https://{service}.us-east-1.amazonaws.com")

    def get_paginator(self, operation: str) -> _FakeClient:
        self._operation = operation
        return self

    def paginate(self, **arguments: str) -> Iterator[dict[str, Any]]:
        if self._operation == "list_stacks":
            for name, stack_id, status in self._aws.stacks:
                yield {"StackSummaries": [{"StackName": name, "StackId": stack_id, "StackStatus": status}]}
            return
        for kind, physical_id, status in self._aws.resources[arguments["StackName"]]:
            event = {"ResourceType": kind, "PhysicalResourceId": physical_id, "ResourceStatus": status}
            yield {"StackEvents": [event]}

    def delete_table(self, TableName: str) -> None:  # noqa: N803 - as boto3 has it
        self._delete(TableName)

    def delete_user_pool(self, UserPoolId: str) -> None:  # noqa: N803
        self._delete(UserPoolId)

    def _delete(self, physical_id: str) -> None:
        if physical_id not in self._aws.existing:
            assert self.exceptions is not None
            raise self.exceptions.ResourceNotFoundException({"Error": {}}, "Delete")
        self._aws.existing.remove(physical_id)


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


def test_the_tables_and_the_user_pool_of_a_deleted_stack_are_deleted(aws: FakeAws) -> None:
    aws.add(NAME, "DELETE_COMPLETE", "orders", "stock", "pool_1")

    assert delete_leftovers(NAME, aws.clients) == ["orders", "stock", "pool_1"]
    assert aws.existing == {"connections"}


def test_it_can_be_repeated_and_finishes_what_was_interrupted(aws: FakeAws) -> None:
    aws.add(NAME, "DELETE_COMPLETE", "orders", "pool_1")
    aws.existing.remove("orders")

    assert delete_leftovers(NAME, aws.clients) == ["pool_1"]
    assert delete_leftovers(NAME, aws.clients) == []


def test_other_stacks_keep_everything(aws: FakeAws) -> None:
    others = {"order-capture-prod", "order-capture-ci-77", "order-capture-ci-7-b"}
    for name in others:
        aws.add(name, "DELETE_COMPLETE", f"orders of {name}", f"pool_{name}")
    aws.add(NAME, "DELETE_COMPLETE", "orders")
    kept = aws.existing - {"orders"}

    delete_leftovers(NAME, aws.clients)

    assert aws.existing == kept


@pytest.mark.parametrize(
    "name", ["order-capture-prod", "order-capture-ci-", "order-capture-ci", "", "order-capture-ci-*"]
)
def test_what_is_not_ephemeral_is_refused(aws: FakeAws, name: str) -> None:
    aws.add(name, "DELETE_COMPLETE", "orders")

    with pytest.raises(UsageError, match="their names begin with order-capture-ci-"):
        delete_leftovers(name, aws.clients)
    assert aws.existing == {"orders", "connections"}


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "DELETE_FAILED", "DELETE_IN_PROGRESS"])
def test_a_stack_that_still_exists_keeps_its_tables(aws: FakeAws, status: str) -> None:
    aws.add(NAME, "DELETE_COMPLETE", "earlier orders")
    aws.add(NAME, status, "orders")

    with pytest.raises(UsageError, match=f"is {status}: delete it first"):
        delete_leftovers(NAME, aws.clients)
    assert aws.existing == {"earlier orders", "orders", "connections"}


def test_a_name_that_is_not_allowed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["order-capture-prod"]) == 2
    assert "order-capture-prod is not an ephemeral stack" in capsys.readouterr().err
