"""The commands of a restore: plan, output, exit codes. `make restore-drill` has the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from order_capture_ops import audit as audits
from order_capture_ops import stack as stacks
from order_capture_ops.restore import __main__ as cli
from order_capture_ops.restore import tables as restores
from order_capture_ops.restore.tables import TABLES, Plan
from order_capture_ops.stack import Stack
from tests.support.shop import Shop, order_of
from tests.support.tables import dynamodb_client
from tests.support.template import load_template

AT = "2026-11-28T09:59:30+00:00"


@pytest.fixture(autouse=True)
def of_the_pipeline(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "_BACKOFF_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(audits, "GRACE_PERIOD", 0.0)
    monkeypatch.setattr(restores, "PLANS", tmp_path)
    monkeypatch.setattr(stacks, "locate", lambda _: stacks.Location(stack.name, stack.client))


def plan_of(stack: Stack) -> Plan:
    """A plan whose restored tables are those of the pipeline."""
    names = {name: stack.output(f"{name}Name") for name in TABLES}
    return Plan(stack.name, False, AT, names, names, "pool", {}, {})


def test_without_a_plan_the_command_says_which_one_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reconcile"]) == 2
    assert "`make restore-tables` starts one" in capsys.readouterr().err


def test_a_time_that_is_none_is_answered_with_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["tables", "--at", "yesterday"])
    assert "AT (--at): 'yesterday' is not a time" in capsys.readouterr().err


def test_a_dry_run_shows_what_is_cut_and_writes_nothing(
    shop: Shop, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a missing order, and its holds
    order_id = shop.order(order_of("alice", 7, pen=3))
    shop.pipeline.deliver("balance_checker")
    dynamodb_client().delete_item(TableName="OrderTable", Key={"orderId": {"S": order_id}})
    plan_of(stack).write()
    # WHEN it is tried THEN it is shown, and stays
    assert cli.main(["reconcile", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "entry of an order that does not exist" in output
    assert f"order {order_id}" in output
    assert "7.00 of alice" in output
    assert shop.account("alice") == [993, 7, 0]
    # WHEN it is done THEN the amount is back, and the books add up
    assert cli.main(["reconcile"]) == 0
    assert "The restored books add up" in capsys.readouterr().out
    assert shop.account("alice") == [1000, 0, 0]
    # AND done again it finds nothing
    assert cli.main(["reconcile"]) == 0
    assert "No contradictions." in capsys.readouterr().out


def test_what_is_short_is_named_and_booked_only_if_that_is_asked_for(
    shop: Shop, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a shipped order, and its account from before it was topped up
    client = dynamodb_client()
    before = client.scan(TableName="AccountTable")["Items"]
    shop.pipeline.ask("POST", "/account", {"customerId": "bob", "adjust": 90})
    shop.order(order_of("bob", 95, pen=1))
    shop.pipeline.run()
    for item in client.scan(TableName="AccountTable")["Items"]:
        client.delete_item(TableName="AccountTable", Key={key: item[key] for key in ("customerId", "entry")})
    for item in before:
        client.put_item(TableName="AccountTable", Item=item)
    plan_of(stack).write()
    # WHEN it is reconciled THEN the missing amount is named
    capsys.readouterr()  # the functions' own lines
    assert cli.main(["reconcile", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["short"] == {"account bob": "85.00"}
    assert "account bob is 85.00 short of what orders have taken" in found["undecided"][0]
    # AND WHEN it is booked THEN the books add up
    assert cli.main(["reconcile", "--adjust"]) == 0
    assert shop.account("bob") == [0, 0, 95]


def version_of(customer: str) -> int:
    key = {"customerId": {"S": customer}, "entry": {"S": "BALANCE"}}
    return int(dynamodb_client().get_item(TableName="AccountTable", Key=key)["Item"]["version"]["N"])


@pytest.mark.usefixtures("shop")
def test_restored_states_are_newer_than_any_that_a_consumer_has_seen(stack: Stack) -> None:
    # GIVEN the version of a balance at the restored moment
    before = version_of("bob")
    plan_of(stack).write()
    # WHEN it is reconciled
    assert cli.main(["reconcile"]) == 0
    # THEN it is higher than eighty writes a second since then could have made it
    seconds = (datetime.now(UTC) - datetime.fromisoformat(AT)).total_seconds()
    assert version_of("bob") - before >= 80 * seconds > 0


def test_the_part_that_is_imported_has_all_that_it_refers_to(stack: Stack) -> None:
    # GIVEN a stack's template
    template = load_template()

    class CloudFormation:
        def get_template(self, **_: str) -> dict[str, object]:
            return {"TemplateBody": template}

    def client(service: str) -> object:
        return CloudFormation() if service == "cloudformation" else stack.client(service)

    described = replace(
        stack,
        client=client,
        outputs={**stack.outputs, "UserPoolId": "pool"},
        parameters={"DeletionProtection": "true", "LogLevel": "INFO"},
    )
    # WHEN a restore is planned
    planned = restores.plan(described, datetime.fromisoformat(AT))
    # THEN it has the tables and the pool, which stay, and of the rest only what these use
    assert {*planned.template["Resources"]} == {*TABLES, "UserPool"}
    assert {each["DeletionPolicy"] for each in planned.template["Resources"].values()} == {"Retain"}
    assert {*planned.template["Parameters"]} == {"DeletionProtection"} == {*planned.parameters}
    assert {*planned.template["Conditions"]} == {"IsProtected"}
    assert planned.targets["OrderTable"] == f"{stack.name}-OrderTable-20261128T095930"
