"""Checks before deploy.sh deploys: the account's quotas, free names, and what would be lost.

Replacing or removing a resource loses its contents, or the name that clients use, even if its deletion policy
keeps the old one: the stack continues with a new, empty one. So this is refused unless explicitly allowed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from rich.markup import escape

from order_capture_ops.cli import Parser, console, run, table
from order_capture_ops.errors import CommandError
from order_capture_ops.stack import status_of

ROOT = Path(__file__).resolve().parent.parent
LOST = {
    "AWS::DynamoDB::Table": "its items",
    "AWS::Cognito::UserPool": "its users and clients",
    "AWS::Cognito::UserPoolClient": "its id and secret, which clients use",
    "AWS::Cognito::UserPoolDomain": "the token URL",
    "AWS::ApiGateway::RestApi": "the API's URL",
    "AWS::ApiGatewayV2::Api": "the API's URL",
    "AWS::SQS::Queue": "its messages",
    "AWS::SNS::Topic": "its subscriptions",
    "AWS::Logs::LogGroup": "its lines",
    "AWS::Backup::BackupVault": "the access to its backups",
}
"""What is lost with a resource of each type. Other types can be recreated without loss."""

# The share of the account's code storage: a release needs room for a version of each function.
MAX_CODE_SHARE = 0.9
_PAUSED = ("AccessDenied", "UnauthorizedOperation", "AccessDeniedException")


@dataclass(frozen=True)
class Loss:
    """A resource that a change set replaces or removes."""

    name: str
    kind: str
    physical_id: str
    action: str
    """`replaced`, `perhaps replaced` or `removed`."""
    is_kept: bool
    """Whether the old one is kept, outside the stack."""

    @property
    def lost(self) -> str:
        """What is lost with it."""
        return LOST[self.kind] + (" (the old one is kept)" if self.is_kept else "")


def losses(changes: Iterable[Mapping[str, Any]]) -> Iterator[Loss]:
    """The resources that the `Changes` of a change set replace or remove.

    Format: AWS CloudFormation API reference, ResourceChange.
    """
    for each in changes:
        change = each.get("ResourceChange", {})
        kind, action, replacement = (change.get(key, "") for key in ("ResourceType", "Action", "Replacement"))
        if kind not in LOST:
            continue
        what = {
            ("Remove", replacement): "removed",
            ("Modify", "True"): "replaced",
            ("Modify", "Conditional"): "perhaps replaced",
            ("Dynamic", replacement): "perhaps replaced",
        }.get((action, replacement))
        if what:
            kept = change.get("PolicyAction", "") in ("Retain", "ReplaceAndRetain")
            yield Loss(change["LogicalResourceId"], kind, change.get("PhysicalResourceId", ""), what, kept)


def changes_of(cloudformation: Any, stack: str) -> list[Mapping[str, Any]]:
    """The changes of a stack's newest executable change set; none if there is none.

    A change set without changes has failed, with that as its reason.
    """
    summaries = [
        summary
        for page in cloudformation.get_paginator("list_change_sets").paginate(StackName=stack)
        for summary in page["Summaries"]
        if summary["Status"] == "CREATE_COMPLETE"
    ]
    if not summaries:
        return []
    newest = max(summaries, key=lambda summary: summary["CreationTime"])
    pages = cloudformation.get_paginator("describe_change_set").paginate(
        StackName=stack, ChangeSetName=newest["ChangeSetId"]
    )
    return [change for page in pages for change in page["Changes"]]


def exists(cloudformation: Any, stack: str) -> bool:
    """Whether the stack exists.

    Raises:
        CommandError: its status does not allow a deployment.
    """
    if (status := status_of(cloudformation, stack)) is None:
        return False
    if status.endswith("_IN_PROGRESS"):
        raise CommandError(f"The stack {stack} is {status}: wait until that has ended.")
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        raise CommandError(f"The stack {stack} is {status}, which can't be updated: delete it first.")
    if status == "UPDATE_ROLLBACK_FAILED":
        raise CommandError(
            f"The stack {stack} is {status}: see `aws cloudformation continue-update-rollback help`."
        )
    return True


def queue_names(stack: str, template: str) -> list[str]:
    """The names of the queues that a new stack creates: only these are set in the template."""
    suffixes = re.findall(r"\{QueueName: ([a-z-]+),", template)
    suffixes += re.findall(r"QueueName: !Sub \$\{AWS::StackName\}-([a-z-]+)", template)
    return [f"{stack}-{suffix}" for suffix in suffixes]


def taken_names(sqs: Any, names: Iterable[str]) -> list[str]:
    """The names that a queue in the account already has."""
    taken = []
    for name in names:
        try:
            sqs.get_queue_url(QueueName=name)
        except botocore.exceptions.ClientError as error:
            if "NonExistentQueue" in (code := error.response["Error"]["Code"]) or "DoesNotExist" in code:
                continue
            raise
        taken.append(name)
    return taken


def concurrency(template: str, parameters: Mapping[str, str]) -> int:
    """The maximum concurrent executions for the stack's queues."""
    limit = number("MaximumConcurrency", template, parameters)
    of_parameter = len(re.findall(r"\{MaximumConcurrency: !Ref MaximumConcurrency\}", template))
    fixed = [int(number) for number in re.findall(r"\{MaximumConcurrency: (\d+)\}", template)]
    return limit * of_parameter + sum(fixed)


def reserved(template: str, parameters: Mapping[str, str]) -> int:
    """The stack's reserved concurrency, which is subtracted from the account's shared concurrency."""
    if not (intake := number("IntakeConcurrency", template, parameters)):
        return 0
    return intake + number("ReaderConcurrency", template, parameters)


def number(name: str, template: str, parameters: Mapping[str, str]) -> int:
    """The value of a parameter: the environment's, or the template's default."""
    default = re.search(rf"\n  {name}:\n    Type: Number\n    Default: (\d+)", template)
    return int(parameters.get(name, default[1] if default else 0))


def shortages(awslambda: Any, needed: int) -> Iterator[str]:
    """What the account lacks, a sentence each. A deployment still succeeds, but is throttled later."""
    settings = awslambda.get_account_settings()
    limit, used = settings["AccountLimit"], settings["AccountUsage"]
    if (most := limit["UnreservedConcurrentExecutions"]) < needed:
        yield (
            f"Lambda runs {most:,} functions at once in this account and region. The stack's queues, and"
            f" what it reserves, take {needed:,}: other functions would be throttled. Ask for more (Service"
            " Quotas, Lambda, Concurrent executions), or lower MaximumConcurrency or IntakeConcurrency."
        )
    if used["TotalCodeSize"] > MAX_CODE_SHARE * limit["TotalCodeSize"]:
        yield (
            f"{used['TotalCodeSize'] / limit['TotalCodeSize']:.0%} of the account's Lambda code storage is "
            "used: delete old versions and layers."
        )


def parameters_of(environment: str) -> dict[str, str]:
    """An environment's parameters in samconfig.toml."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    overrides = config[environment]["deploy"]["parameters"].get("parameter_overrides", [])
    return dict(each.split("=", 1) for each in overrides)


def check(
    clients: Callable[[str], Any], stack: str, environment: str, *, with_changes: bool, allowed: bool
) -> int:
    """Print the problems; returns 1 if it must not be deployed."""
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    cloudformation, parameters = clients("cloudformation"), parameters_of(environment)
    is_new = not exists(cloudformation, stack)
    # An existing stack's reserved concurrency is no longer part of the account's unreserved concurrency.
    needed = concurrency(template, parameters) + (reserved(template, parameters) if is_new else 0)
    with_rights("Lambda's quotas", lambda: _warn(shortages(clients("lambda"), needed)))
    if is_new:
        names = queue_names(stack, template)
        taken = with_rights("the queues' names", lambda: taken_names(clients("sqs"), names)) or []
        for name in taken:
            console.print(
                "[red]Taken:[/]", f"a queue is called {name}, and does not belong to a stack {stack}."
            )
        return 1 if taken else 0
    if not with_changes:
        return 0
    found = [*losses(changes_of(cloudformation, stack))]
    if not found:
        console.print("No resource with data, or with a name that others use, is replaced or removed.")
        return 0
    shown = table("The deployment would replace or remove", "resource", "is", "lost")
    for loss in found:
        shown.add_row(loss.name, loss.action, loss.lost)
    console.print(shown)
    if allowed:
        console.print("It is allowed: --allow-replacement.")
        return 0
    console.print("[red]Refused.[/] docs/how-to/upgrade.md says what to do; --allow-replacement deploys it.")
    return 1


def with_rights(what: str, ask: Callable[[], Any]) -> Any:
    """What `ask` returns; None, with a printed note, if the caller has no permission."""
    try:
        return ask()
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in _PAUSED:
            raise
        console.print(f"[yellow]Not checked:[/] {what}. You have no permission for {error.operation_name}.")
        return None


def _warn(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console.print("[yellow]Warning:[/]", escape(sentence))


def main(arguments: list[str] | None = None) -> int:
    """`python -m order_capture_ops.predeploy STACK --env NAME`."""
    parser = Parser(
        prog="python -m order_capture_ops.predeploy",
        description="Checks the account, the names and the newest change set before a deployment.",
        example="python -m order_capture_ops.predeploy order-capture-dev --env dev",
    )
    parser.add_argument("stack", metavar="STACK", help="the stack's name")
    parser.add_argument(
        "--env", required=True, choices=("dev", "prod", "ci", "local"), help="environment in samconfig.toml"
    )
    parser.add_argument(
        "--exists", action="store_true", help="print only whether the stack exists: yes or no"
    )
    parser.add_argument("--changes", action="store_true", help="check the newest change set as well")
    parser.add_argument(
        "--allow-replacement", action="store_true", help="accept every replacement and removal"
    )
    options = parser.parse_args(arguments)
    clients: Any = boto3.Session().client

    def command() -> int:
        if options.exists:
            print("yes" if exists(clients("cloudformation"), options.stack) else "no")
            return 0
        return check(
            clients,
            options.stack,
            options.env,
            with_changes=options.changes,
            allowed=options.allow_replacement,
        )

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
