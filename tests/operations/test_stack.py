"""How commands find the stack, and their errors if it does not exist."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from local import env_json, follow, receiver, tokens
from local.engine import free_port
from order_capture.adapters.operations.stack import MissingOutputError
from order_capture_ops import stack as stacks
from order_capture_ops.__main__ import main
from order_capture_ops.stack import StackError

TEMPLATE = {
    "Parameters": {"OrderDeadlineSeconds": {"Type": "Number", "Default": "30"}},
    "Resources": {"Orders": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {"OrderTopicArn": {"Value": {"Ref": "Orders"}}},
}


@pytest.fixture
def description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the local stack's description, which does not exist yet."""
    path = tmp_path / "stack.json"
    monkeypatch.setattr(stacks, "DESCRIPTION", path)
    return path


@pytest.fixture
def no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_stack_on_aws_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    with mock_aws():
        stack_client: Any = stacks.boto3.client("cloudformation")  # type: ignore[attr-defined]
        stack_client.create_stack(StackName="shop", TemplateBody=json.dumps(TEMPLATE))

        stack = stacks.find("shop")
        with pytest.raises(StackError, match=r"no stack another in us-east-1 of account \d+\.$"):
            stacks.find("another")

    assert stack.on_aws
    assert stack.output("OrderTopicArn").startswith("arn:aws:sns:us-east-1:")
    assert stack.parameters["OrderDeadlineSeconds"] == "30"
    with pytest.raises(MissingOutputError, match="no output OrderTableName"):
        stack.output("OrderTableName")


@pytest.mark.usefixtures("no_profile")
def test_a_stack_without_outputs_has_a_readable_error(
    description: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    description.write_text(
        json.dumps({"stackName": "shop", "region": "us-east-1", "endpointUrl": "http://127.0.0.1:1"})
    )
    with mock_aws():
        # moto stands in for the engine: only CloudFormation's response matters here.
        aws: Any = stacks.boto3.Session(  # type: ignore[attr-defined]
            aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        monkeypatch.setattr(stacks, "partial", lambda *_, **__: aws.client)
        assert main(["logs"]) == 1
        missing = capsys.readouterr().err
        aws.client("cloudformation").create_stack(
            StackName="shop", TemplateBody=json.dumps({"Resources": TEMPLATE["Resources"]})
        )
        assert main(["status"]) == 2
        unfinished = capsys.readouterr().err

    assert "There is no stack shop in us-east-1" in missing
    assert "has no outputs" in unfinished
    for printed in (missing, unfinished):
        assert printed.endswith("`make run` deploys it.\n")


@pytest.mark.usefixtures("description")
def test_without_a_stack_the_error_has_the_deploy_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit"]) == 2
    assert "make run" in capsys.readouterr().err


def test_a_stopped_engine_is_reported(description: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    description.write_text(json.dumps({"stackName": "shop", "region": "us-east-1", "endpointUrl": endpoint}))

    assert main(["stuck"]) == 2
    assert main(["logs"]) == 1

    line = f"Error: No engine answers at {endpoint}: `make run` starts one."
    assert capsys.readouterr().err.splitlines() == [line, line]


def test_the_engines_credentials_go_to_this_machine_only(
    description: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description.write_text(
        json.dumps(
            {"stackName": "shop", "region": "us-east-1", "endpointUrl": "https://sqs.us-east-1.amazonaws.com"}
        )
    )

    assert main(["stuck"]) == 2

    assert "not on this machine" in capsys.readouterr().err


def test_the_users_credentials_do_not_go_to_the_engine(
    description: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "my-own-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "my-own-secret")
    of_engine = {"accessKeyId": "of-the-engine", "secretAccessKey": "secret"}
    description.write_text(
        json.dumps(
            {"stackName": "shop", "region": "us-east-1", "endpointUrl": "http://127.0.0.1:1", **of_engine}
        )
    )
    made: list[Any] = []
    monkeypatch.setattr(stacks, "_describe", lambda _, client: made.append(client("sqs")))

    stacks.find(None)

    (client,) = made
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client._request_signer._credentials.access_key == "of-the-engine"


@pytest.mark.usefixtures("no_profile")
def test_a_missing_region_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--stack", "shop"]) == 2
    assert "No AWS region is set. For example: AWS_REGION=eu-west-1" in capsys.readouterr().err


@pytest.mark.usefixtures("no_profile")
def test_missing_credentials_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    assert main(["status", "--stack", "shop"]) == 2

    assert (
        "No AWS credentials are set: sign in (aws sso login), or set AWS_PROFILE." in capsys.readouterr().err
    )


@pytest.mark.usefixtures("description")
def test_every_command_has_a_readable_error_without_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "audit", "stuck", "watch", "republish", "rebuild-history", "check-reports"):
        assert main([command]) == 2
    assert main(["redrive", "order_update"]) == 2
    assert main(["logs"]) == 1
    assert tokens.main([]) == 1
    assert follow.main(["--customer", "alice"]) == 1
    assert env_json.main([]) == 1
    assert receiver.main(["--customer", "alice"]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 13
    assert set(lines) == {
        "Error: No stack is deployed in this checkout: `make run` deploys one, STACK=name selects one on AWS."
    }


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["redrive", "order_update", "--rate", "0"],
        ["redrive", "order_update", "--rate", "nan"],
        ["redrive", "order_update", "--limit", "-1"],
        ["redrive", "order_update", "--limit", "1.5"],
    ],
)
def test_an_invalid_command_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
