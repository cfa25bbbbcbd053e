"""Allowed combinations of parameters, and the sums of the environments' parameters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.template import ROOT, Template, functions, load_template, on_aws
from tests.template.test_agreement import overrides
from tests.template.translation import default_values, holds

# Lambda quotas, by its developer guide: executions at a time in an account's region ("Understanding Lambda
# function scaling"), and what must stay unreserved ("Configuring reserved concurrency").
ACCOUNT_CONCURRENCY, UNRESERVED = 1_000, 100

DOMAIN_NAMES = {
    "ApiDomainName": "api.example.com",
    "SocketDomainName": "socket.example.com",
    "DomainCertificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/0f0e0d0c-0b0a-4908-8706",
}


def refused(**values: str) -> list[str]:
    """CloudFormation's errors for these values, with the other parameters at their defaults."""
    template = load_template()
    for name, value in values.items():
        if not re.fullmatch(template["Parameters"][name].get("AllowedPattern", ".*"), value):
            return [template["Parameters"][name]["ConstraintDescription"]]
    given = default_values(template) | values
    return [
        each["AssertDescription"]
        for rule in template["Rules"].values()
        for each in rule["Assertions"]
        if not holds(each["Assert"], {}, given)
    ]


def test_a_stack_needs_no_domain_names_and_may_have_them_with_and_without_records() -> None:
    assert refused() == []
    assert refused(**DOMAIN_NAMES) == []
    assert refused(**DOMAIN_NAMES, HostedZoneId="Z0123456789ABCDEFGHIJ") == []


@pytest.mark.parametrize("missing", DOMAIN_NAMES)
def test_half_of_what_domain_names_need_is_refused(missing: str) -> None:
    (message,) = refused(**DOMAIN_NAMES | {missing: ""})[:1]
    assert (
        message
        == "ApiDomainName, SocketDomainName and DomainCertificateArn go together: set all three, or none."
    )


def test_one_domain_name_for_both_apis_is_refused() -> None:
    (message,) = refused(**DOMAIN_NAMES | {"SocketDomainName": "api.example.com"})
    assert message.startswith("ApiDomainName and SocketDomainName must differ")


def test_a_hosted_zone_without_domain_names_is_refused() -> None:
    (message,) = refused(HostedZoneId="Z0123456789ABCDEFGHIJ")
    assert message.startswith("HostedZoneId is for the records of ApiDomainName and SocketDomainName")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ApiDomainName", "https://api.example.com"),
        ("ApiDomainName", "api.example.com/v1"),
        ("ApiDomainName", "API.example.com"),
        ("SocketDomainName", "wss://socket.example.com"),
        ("SocketDomainName", "localhost"),
        ("DomainCertificateArn", "0f0e0d0c-0b0a-4908-8706-050403020100"),
        ("HostedZoneId", "example.com"),
    ],
)
def test_what_is_no_such_name_is_refused_in_words_that_name_the_parameter(name: str, value: str) -> None:
    (message,) = refused(**DOMAIN_NAMES | {name: value})
    assert message.startswith(f"{name} is ")


# ------------------------------------------------------------------------------------------------ concurrency
def consumers(template: Template, values: dict[str, str]) -> dict[str, int]:
    """The maximum copies of each queue's function: the sum over its mappings."""

    def value(of: Any) -> int:
        return int(values[of["Ref"]] if isinstance(of, dict) else of)

    return {
        name: sum(copies)
        for name, function in functions(template).items()
        if (
            copies := [
                value(event["Properties"]["ScalingConfig"]["MaximumConcurrency"])
                for event in function.get("Events", {}).values()
                if event["Type"] == "SQS"
            ]
        )
    }


def left_over(values: dict[str, str]) -> int:
    """The unreserved concurrent executions of a default account."""
    reserved = int(values["IntakeConcurrency"]) and int(values["IntakeConcurrency"]) + int(
        values["ReaderConcurrency"]
    )
    return ACCOUNT_CONCURRENCY - reserved - sum(consumers(on_aws(load_template()), values).values())


@pytest.mark.parametrize("environment", ["dev", "ci", "prod"])
def test_what_an_environment_runs_at_most_fits_into_an_account(environment: str) -> None:
    values = default_values(load_template()) | overrides(environment)

    assert left_over(values) >= UNRESERVED, "for what has no number: other APIs, streams, other stacks"


def test_production_keeps_room_for_every_order_that_its_api_lets_in_at_once() -> None:
    values = default_values(load_template()) | overrides("prod")

    assert int(values["IntakeConcurrency"]) >= int(values["ApiBurstLimit"])


def test_the_plan_in_the_documentation_is_productions() -> None:
    values = default_values(load_template()) | overrides("prod")
    page = (ROOT / "docs/reference/concurrency.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `?([\w, ]+?)`? \| ([\d,]+) \|", page, re.MULTILINE))

    assert int(rows["order_api"]) == int(values["IntakeConcurrency"])
    assert int(rows["order_reader"]) == int(values["ReaderConcurrency"])
    assert int(rows["consumers of queues"]) == sum(consumers(on_aws(load_template()), values).values())
    assert int(rows["everything else"]) == left_over(values)


def test_a_function_changes_with_its_reservation_or_lambda_publishes_no_version() -> None:
    # given the functions that reserve concurrency, by a parameter
    reserving = {
        name: properties
        for name, properties in functions(load_template()).items()
        if "ReservedConcurrentExecutions" in properties
    }
    assert len(reserving) == 2
    # then a change of the parameter changes a property that belongs to a version
    for name, properties in reserving.items():
        _, reserved, _ = properties["ReservedConcurrentExecutions"]["Fn::If"]
        assert f"${{{reserved['Ref']}}}" in properties["Description"]["Fn::Sub"], name
