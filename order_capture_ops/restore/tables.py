"""Restore a stack's tables into new ones, and import these into a stack of the same name.

A plan stores what is needed once the old stack is deleted: the restored tables, and the part of the template
that CloudFormation imports.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.exceptions

from order_capture.domain.ledger import ACCOUNTS, STOCK
from order_capture_ops.errors import CommandError, UsageError
from order_capture_ops.progress import ProgressCallback
from order_capture_ops.stack import Clients, Stack, status_of
from order_capture_ops.tables import HistoryTable, LedgerTable, OrderTable, Tables

PLANS = Path(__file__).resolve().parent.parent.parent / ".local/restore"
TABLES = ("OrderTable", "AccountTable", "StockTable", "WebhookTable")
"""The tables to restore, by logical id. History and reports are rebuilt; clients reconnect."""
USER_POOL = "UserPool"

_POLL_SECONDS = 2.0
# A restore takes minutes to hours, by the table's size (DynamoDB developer guide, "Restore a table").
_RESTORE_SECONDS = 24 * 60 * 60
_IMPORT_SECONDS = 15 * 60


@dataclass(frozen=True)
class Plan:
    """A restore of a stack: the names of its tables, and of the restored ones."""

    stack: str
    on_aws: bool
    moment: str
    sources: Mapping[str, str]
    """The stack's tables, by logical id."""
    targets: Mapping[str, str]
    """The restored tables, by logical id."""
    user_pool: str
    template: Mapping[str, Any]
    """The part of the stack's template to import."""
    parameters: Mapping[str, str]

    @property
    def path(self) -> Path:
        """The plan's file."""
        return path_of(self.stack)

    def write(self) -> None:
        """Write it, for the next commands."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(asdict(self), indent=2))


def path_of(stack: str) -> Path:
    """The file with the plan of a stack's restore."""
    return PLANS / f"{stack}.json"


def read_plan(stack: str) -> Plan:
    """The plan of a stack's restore.

    Raises:
        UsageError: there is none.
    """
    try:
        return Plan(**json.loads(path_of(stack).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"No restore of {stack} was started here: `make restore-tables` starts one."
        ) from error


def plan(stack: Stack, moment: datetime) -> Plan:
    """Plan the restore of an existing stack to a time.

    Raises:
        CommandError: the stack's template lacks one of the tables, or the user pool.
    """
    cloudformation = stack.client("cloudformation")
    body = cloudformation.get_template(StackName=stack.name, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(body) if isinstance(body, str) else body
    kept = (*TABLES, USER_POOL)
    if missing := [name for name in kept if name not in template["Resources"]]:
        raise CommandError(f"The stack {stack.name} has no {missing[0]}: is it an order capture stack?")
    part = _part(template, kept)
    return Plan(
        stack.name,
        stack.on_aws,
        moment.isoformat(timespec="seconds"),
        {name: stack.output(f"{name}Name") for name in TABLES},
        {name: f"{stack.name}-{name}-{moment:%Y%m%dT%H%M%S}" for name in TABLES},
        stack.output("UserPoolId"),
        part,
        {name: stack.parameters[name] for name in part.get("Parameters", {}) if name in stack.parameters},
    )


def _part(template: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Some resources of a template, with the parameters and conditions that they use."""
    # CloudFormation imports only what has a deletion policy ("Import AWS resources into a stack").
    resources = {name: {**template["Resources"][name], "DeletionPolicy": "Retain"} for name in names}
    used = {*_names(resources)}
    conditions = {name: each for name, each in template.get("Conditions", {}).items() if name in used}
    used |= {*_names(conditions)}
    parameters = {name: each for name, each in template.get("Parameters", {}).items() if name in used}
    sections = {"Parameters": parameters, "Conditions": conditions, "Resources": resources}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        **{name: section for name, section in sections.items() if section},
    }


def _names(value: Any) -> Iterator[str]:
    """The parameters and conditions that a part of a template refers to."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in ("Ref", "Condition") and isinstance(each, str):
                yield each
            elif key == "Fn::If":
                yield each[0]
            yield from _names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _names(each)


def restore_table(client: Any, planned: Plan, name: str) -> None:
    """Start to restore one table, unless already started.

    Raises:
        CommandError: the table can't be restored to this time.
    """
    try:
        client.restore_table_to_point_in_time(
            SourceTableName=planned.sources[name],
            TargetTableName=planned.targets[name],
            RestoreDateTime=datetime.fromisoformat(planned.moment),
            BillingModeOverride="PAY_PER_REQUEST",
        )
    except client.exceptions.TableAlreadyExistsException:
        return
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "InvalidRestoreTimeException":
            raise
        found = client.describe_continuous_backups(TableName=planned.sources[name])
        window = found["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        raise CommandError(
            f"{planned.sources[name]} can be restored to a time from {window['EarliestRestorableDateTime']} "
            f"to {window['LatestRestorableDateTime']}, not to {planned.moment}."
        ) from error


def wait_until_restored(client: Any, planned: Plan, on_progress: ProgressCallback = lambda *_: None) -> None:
    """Wait until all tables are restored.

    Raises:
        CommandError: it takes more than a day.
    """
    deadline = time.monotonic() + _RESTORE_SECONDS
    waiting = [*planned.targets.values()]
    while waiting:
        if client.describe_table(TableName=waiting[0])["Table"]["TableStatus"] == "ACTIVE":
            del waiting[0]
            on_progress("tables restored", 1)
        elif time.monotonic() > deadline:
            raise CommandError(f"{waiting[0]} is still being restored after a day.")
        else:
            time.sleep(_POLL_SECONDS)


def restored_tables(clients: Clients, planned: Plan) -> Tables:
    """The restored tables, without a history."""
    client, targets = clients("dynamodb"), planned.targets
    return Tables(
        OrderTable(client, targets["OrderTable"]),
        LedgerTable(client, targets["AccountTable"], ACCOUNTS, "customerId", "account"),
        LedgerTable(client, targets["StockTable"], STOCK, "productId", "product"),
        HistoryTable(client, "", exists=False),
    )


def configure(client: Any, planned: Plan) -> None:
    """Configure what a restore leaves out: stream, expiry, recovery and protection.

    Earlier writes are not in the stream. (What a restore leaves out: DynamoDB API reference,
    RestoreTableToPointInTime. CloudFormation does not compare an imported table with its template.)
    """
    for name, table in planned.targets.items():
        properties = planned.template["Resources"][name]["Properties"]
        described = client.describe_table(TableName=table)["Table"]
        if (stream := properties.get("StreamSpecification")) and not described.get("StreamSpecification"):
            client.update_table(TableName=table, StreamSpecification={"StreamEnabled": True, **stream})
            _wait_until_active(client, table)
        protection = properties.get("DeletionProtectionEnabled")  # a parameter, or its resolved value
        if isinstance(protection, dict):
            protection = planned.parameters.get(protection["Ref"])
        if str(protection).lower() == "true":
            client.update_table(TableName=table, DeletionProtectionEnabled=True)
            _wait_until_active(client, table)
        if expiry := properties.get("TimeToLiveSpecification"):
            found = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
            if found["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
                client.update_time_to_live(
                    TableName=table, TimeToLiveSpecification={**expiry, "Enabled": True}
                )
        client.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )


def _wait_until_active(client: Any, table: str) -> None:
    client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 300})


def import_stack(cloudformation: Any, planned: Plan) -> None:
    """Create a stack with the restored tables and the user pool; a deployment then completes it.

    Raises:
        CommandError: a stack of this name exists, or CloudFormation rejects the import.
    """
    if status := status_of(cloudformation, planned.stack):
        if status == "IMPORT_COMPLETE":
            return
        raise CommandError(
            f"The stack {planned.stack} is {status}: delete it first (deploy.sh --delete). Its tables stay."
        )
    resources = [
        {
            "ResourceType": "AWS::DynamoDB::Table",
            "LogicalResourceId": name,
            "ResourceIdentifier": {"TableName": table},
        }
        for name, table in planned.targets.items()
    ]
    pool = {"UserPoolId": planned.user_pool}
    change_set_name = f"restore-{int(time.time())}"  # a failed change set keeps its name
    cloudformation.create_change_set(
        StackName=planned.stack,
        ChangeSetName=change_set_name,
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps(planned.template),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in planned.parameters.items()
        ],
        ResourcesToImport=[
            *resources,
            {
                "ResourceType": "AWS::Cognito::UserPool",
                "LogicalResourceId": USER_POOL,
                "ResourceIdentifier": pool,
            },
        ],
    )
    change_set = {"StackName": planned.stack, "ChangeSetName": change_set_name}

    def created() -> bool:
        found = cloudformation.describe_change_set(**change_set)
        if found["Status"] == "FAILED":
            raise CommandError(f"CloudFormation does not import the tables: {found.get('StatusReason', '')}")
        return bool(found["Status"] == "CREATE_COMPLETE")

    _wait(created, f"the change set {change_set_name}")
    cloudformation.execute_change_set(**change_set)

    def imported() -> bool:
        status = status_of(cloudformation, planned.stack)
        if status and "ROLLBACK" in status:
            raise CommandError(
                f"The import was rolled back; the events of the stack {planned.stack} have the reason."
            )
        return status == "IMPORT_COMPLETE"

    _wait(imported, f"the import into the stack {planned.stack}")


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _IMPORT_SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise CommandError(f"{what} takes too long: see the CloudFormation console.")
        time.sleep(_POLL_SECONDS)


def moment_of(planned: Plan) -> datetime:
    """The time to which the tables are restored."""
    return datetime.fromisoformat(planned.moment).astimezone(UTC)
