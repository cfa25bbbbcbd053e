"""deploy.sh's checks before a deployment. botocore's Stubber validates the fake responses of AWS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from order_capture_ops import predeploy
from order_capture_ops.errors import CommandError
from tests.support.tables import session
from tests.support.template import ROOT, load_template, of_type

ID = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/samcli-deploy1764399600/5a1f0c7e-1111"
STACK = {
    "StackName": "order-capture-dev",
    "CreationTime": datetime.now(UTC),
    "StackStatus": "UPDATE_COMPLETE",
}
TEMPLATE = (ROOT / "template.yaml").read_text()


class Aws:
    """Clients with prepared responses."""

    def __init__(self) -> None:
        self._clients = {name: session().create_client(name) for name in ("cloudformation", "lambda", "sqs")}
        self.stubs = {name: Stubber(client) for name, client in self._clients.items()}
        for stub in self.stubs.values():
            stub.activate()

    def client(self, name: str) -> Any:
        return self._clients[name]

    def has_quota(self, concurrent: int, code_size: int = 1_000) -> None:
        limit = {
            "TotalCodeSize": 80_530_636_800,
            "ConcurrentExecutions": concurrent,
            "UnreservedConcurrentExecutions": concurrent,
        }
        usage = {"TotalCodeSize": code_size, "FunctionCount": 22}
        self.stubs["lambda"].add_response(
            "get_account_settings", {"AccountLimit": limit, "AccountUsage": usage}
        )

    def has_stack(self, status: str = "UPDATE_COMPLETE") -> None:
        self.stubs["cloudformation"].add_response(
            "describe_stacks", {"Stacks": [STACK | {"StackStatus": status}]}
        )

    def has_no_stack(self) -> None:
        self.stubs["cloudformation"].add_client_error(
            "describe_stacks", "ValidationError", "does not exist", 400
        )

    def has_changes(self, *changes: Mapping[str, Any]) -> None:
        """The newest of three change sets, one of which has failed; CloudFormation has two pages of it."""
        stub = self.stubs["cloudformation"]
        old, new = (datetime(2026, 11, day, tzinfo=UTC) for day in (27, 28))
        summaries = [
            {"ChangeSetId": ID, "ChangeSetName": "new", "Status": "CREATE_COMPLETE", "CreationTime": new},
            {"ChangeSetId": ID[:-1] + "2", "Status": "CREATE_COMPLETE", "CreationTime": old},
            {"ChangeSetId": ID[:-1] + "3", "Status": "FAILED", "CreationTime": new},
        ]
        stub.add_response("list_change_sets", {"Summaries": summaries}, {"StackName": ANY})
        pages = [{"Type": "Resource", "ResourceChange": change} for change in changes]
        asked = {"StackName": ANY, "ChangeSetName": ID}
        stub.add_response("describe_change_set", {"Changes": pages[:1], "NextToken": "more"}, asked)
        stub.add_response("describe_change_set", {"Changes": pages[1:]}, asked | {"NextToken": "more"})

    def check(self, *, with_changes: bool = True, allowed: bool = False) -> int:
        return predeploy.check(
            self.client, "order-capture-dev", "dev", with_changes=with_changes, allowed=allowed
        )


@pytest.fixture
def aws() -> Aws:
    return Aws()


# As in the examples of the API reference (DescribeChangeSet), with our resources.
REPLACED_TABLE = {
    "PolicyAction": "ReplaceAndRetain",
    "Action": "Modify",
    "LogicalResourceId": "OrderTable",
    "PhysicalResourceId": "order-capture-dev-OrderTable-1ABC",
    "ResourceType": "AWS::DynamoDB::Table",
    "Replacement": "True",
    "Scope": ["Properties"],
    "Details": [
        {
            "Target": {"Attribute": "Properties", "Name": "KeySchema", "RequiresRecreation": "Always"},
            "Evaluation": "Static",
            "ChangeSource": "DirectModification",
        }
    ],
}
CHANGED_TABLE = REPLACED_TABLE | {"Replacement": "False", "LogicalResourceId": "StockTable"}
REMOVED_QUEUE = {
    "PolicyAction": "Delete",
    "Action": "Remove",
    "LogicalResourceId": "ReportQueue",
    "PhysicalResourceId": "https://sqs.us-east-1.amazonaws.com/123456789012/order-capture-dev-report",
    "ResourceType": "AWS::SQS::Queue",
    "Scope": [],
    "Details": [],
}
PERHAPS_REPLACED_API = {
    "Action": "Modify",
    "LogicalResourceId": "Api",
    "PhysicalResourceId": "a1b2c3",
    "ResourceType": "AWS::ApiGateway::RestApi",
    "Replacement": "Conditional",
}
OLD_VERSION = {
    "Action": "Remove",
    "LogicalResourceId": "OrderApiVersion1",
    "ResourceType": "AWS::Lambda::Version",
}
NEW_TABLE = {"Action": "Add", "LogicalResourceId": "MoreTable", "ResourceType": "AWS::DynamoDB::Table"}


def test_what_would_lose_data_or_an_address_is_shown_and_refused(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a change set that replaces a table, perhaps an API, and removes a queue
    aws.has_quota(1000)
    aws.has_stack()
    aws.has_changes(
        REPLACED_TABLE, CHANGED_TABLE, REMOVED_QUEUE, PERHAPS_REPLACED_API, OLD_VERSION, NEW_TABLE
    )
    # WHEN it is checked THEN it is refused, with what is lost
    assert aws.check() == 1
    output = capsys.readouterr().out
    for resource, action, lost in (
        ("OrderTable", "replaced", r"its items \(the old one is kept\)"),
        ("ReportQueue", "removed", "its messages"),
        ("Api", "perhaps replaced", "the API's URL"),
    ):
        assert re.search(rf"{resource}\s+{action}\s+{lost}", output)
    # AND what is changed in place, or replaced by every release, is not named
    assert not any(name in output for name in ("StockTable", "OrderApiVersion", "MoreTable"))
    assert "Refused" in output


def test_it_is_deployed_if_that_is_allowed(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.has_quota(1000)
    aws.has_stack()
    aws.has_changes(REPLACED_TABLE)
    assert aws.check(allowed=True) == 0
    assert "OrderTable" in capsys.readouterr().out


def test_an_ordinary_release_is_deployed(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.has_quota(1000)
    aws.has_stack()
    aws.has_changes(OLD_VERSION, CHANGED_TABLE)
    assert aws.check() == 0
    assert (
        "No resource with data, or with a name that others use, is replaced or removed"
        in capsys.readouterr().out
    )


def test_what_is_lost_is_known_for_each_type_that_has_a_state() -> None:
    # GIVEN what the template keeps when its stack is deleted
    resources = load_template()["Resources"].values()
    kept = {each["Type"] for each in resources if each.get("UpdateReplacePolicy") == "Retain"}
    # THEN each one's loss has a text; the role for access logs, and its use, lose nothing
    assert kept - {"AWS::IAM::Role", "AWS::ApiGateway::Account"} <= predeploy.LOST.keys()
    assert {"AWS::SQS::Queue", "AWS::SNS::Topic"} <= predeploy.LOST.keys()


@pytest.mark.parametrize(("concurrent", "warned"), [(10, True), (1000, False)])
def test_an_account_with_too_little_concurrency_is_warned_of(
    aws: Aws, capsys: pytest.CaptureFixture[str], concurrent: int, warned: bool
) -> None:
    aws.has_quota(concurrent)  # 10 is the limit of a new account
    aws.has_stack()
    assert aws.check(with_changes=False) == 0
    assert ("Lambda runs 10 functions at once" in capsys.readouterr().out) is warned


def test_what_a_stack_reserves_counts_with_what_its_queues_take() -> None:
    parameters = {"MaximumConcurrency": "20", "IntakeConcurrency": "300"}
    queues = predeploy.concurrency(TEMPLATE, parameters)
    assert queues > 20
    # the readers' share has a default
    assert predeploy.reserved(TEMPLATE, parameters) == 300 + int(
        load_template()["Parameters"]["ReaderConcurrency"]["Default"]
    )
    assert predeploy.reserved(TEMPLATE, {}) == 0


def test_full_code_storage_is_warned_of(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.has_quota(1000, code_size=79_000_000_000)
    aws.has_stack()
    assert aws.check(with_changes=False) == 0
    assert "98% of the account's Lambda code storage" in capsys.readouterr().out


def test_who_may_not_ask_for_quotas_gets_one_line_and_goes_on(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.stubs["lambda"].add_client_error("get_account_settings", "AccessDeniedException", "no", 403)
    aws.has_stack()
    assert aws.check(with_changes=False) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "Not checked: Lambda's quotas. You have no permission for GetAccountSettings."


def test_a_new_stack_needs_free_names(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN no stack, and a queue with one of its names
    aws.has_quota(1000)
    aws.has_no_stack()
    names = predeploy.queue_names("order-capture-dev", TEMPLATE)
    for name in names:
        if name.endswith("-report"):
            aws.stubs["sqs"].add_response("get_queue_url", {"QueueUrl": "https://sqs"}, {"QueueName": name})
        else:
            code = "AWS.SimpleQueueService.NonExistentQueue"
            aws.stubs["sqs"].add_client_error(
                "get_queue_url", code, "", 400, expected_params={"QueueName": name}
            )
    # THEN the deployment is refused
    assert aws.check() == 1
    assert "a queue is called order-capture-dev-report" in capsys.readouterr().out


def test_the_names_are_those_of_the_templates_queues() -> None:
    template = load_template()
    named = {
        str(queue["QueueName"]).partition("${AWS::StackName}")[2].rstrip("'}\"")
        for queue in of_type(template, "AWS::SQS::Queue").values()
        if "QueueName" in queue
    }
    assert {name.removeprefix("s") for name in predeploy.queue_names("s", TEMPLATE)} == named


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"])
def test_a_stack_that_takes_no_update_is_an_error_that_says_what_to_do(aws: Aws, status: str) -> None:
    aws.has_quota(1000)
    aws.has_stack(status)
    with pytest.raises(CommandError, match=status):
        aws.check()


def test_the_concurrency_is_that_of_all_queues() -> None:
    # GIVEN the template's event sources of queues
    functions = of_type(load_template(), "AWS::Serverless::Function").values()
    limits = [
        event["Properties"]["ScalingConfig"]
        for function in functions
        for event in function.get("Events", {}).values()
        if event["Type"] == "SQS"
    ]
    # THEN each counts, with the parameter's or the template's value
    fixed = [number for number in (12, 2) if any(str(number) in str(limit) for limit in limits)]
    expected = 50 * (len(limits) - len(fixed)) + sum(fixed)
    assert predeploy.concurrency(TEMPLATE, predeploy.parameters_of("prod")) == expected
