"""`make scan`, the second half: checkov on template.yaml, and on its translation for production.

A finding is an error unless WAIVED names it with a reason; an unused waiver is an error, too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from local.console import step
from order_capture_ops.cli import UNKNOWN, Parser, console, run, table
from order_capture_ops.errors import CommandError
from tests.support.template import ROOT, Template, load_template
from tests.template.translation import choices, decided_for_all, default_values

CHECKOV = ROOT / ".local/venv/scan/bin/checkov"


class Waiver(NamedTuple):
    """Why a check does not apply to some resources."""

    resources: str
    """A pattern of the resources' names, which begin with the type."""
    reason: str


_FUNCTIONS = r"AWS::(Serverless|Lambda)::Function\..*"

WAIVED = {
    "CKV_AWS_26": Waiver(
        r"AWS::SNS::Topic\.(Alarm|Page)Topic",
        "CloudWatch may not use the key that AWS keeps for SNS; alarms have nothing of an order",
    ),
    "CKV_AWS_27": Waiver(
        r"AWS::SQS::Queue\..*", "SqsManagedSseEnabled encrypts them, and the check knows KMS keys only"
    ),
    "CKV_AWS_28": Waiver(
        r"AWS::DynamoDB::Table\.ConnectionTable",
        "open connections: nothing to go back to",
    ),
    "CKV_AWS_73": Waiver(
        r"AWS::Serverless::Api\.Api",
        "the parameter Tracing decides, in a condition that checkov can't read",
    ),
    "CKV_AWS_115": Waiver(
        _FUNCTIONS,
        "MaximumConcurrency bounds each queue's function; what is reserved is lost to the account's others",
    ),
    "CKV_AWS_116": Waiver(
        _FUNCTIONS, "none is called asynchronously: queues and streams have the dead-letter queues"
    ),
    "CKV_AWS_117": Waiver(
        _FUNCTIONS, "they reach AWS's own services by IAM, and webhooks' receivers; in a VPC that takes a NAT"
    ),
    "CKV_AWS_119": Waiver(
        r"AWS::DynamoDB::Table\..*",
        "encrypted with AWS's key; a key of our own adds a charge and a failure to each call",
    ),
    "CKV_AWS_120": Waiver(
        r"AWS::(Serverless::Api\.Api|ApiGateway::Stage\.ApiStage)",
        "answers are a caller's own, and read what was written a moment ago",
    ),
    "CKV_AWS_158": Waiver(
        r"AWS::Logs::LogGroup\..*",
        "CloudWatch encrypts them; they name no customer and no amount, as a test shows",
    ),
    "CKV_AWS_166": Waiver(
        r"AWS::Backup::BackupVault\.BackupVault",
        "encrypted with AWS's key, as the tables are; who deletes a key of our own deletes the backups",
    ),
    "CKV_AWS_173": Waiver(
        _FUNCTIONS, "names of resources, no secrets; Lambda encrypts them with its own key"
    ),
}

Finding = tuple[str, str, str]
"""A check's id, its requirement, and the resource."""


class ScanError(CommandError):
    """checkov has no result."""


def checkov(path: Path) -> list[Finding]:
    """What checkov finds in a template.

    Raises:
        ScanError: it could not read the template, or checked nothing.
    """
    # --skip-download: its rules are in the package, and no run here calls home.
    options = ("--framework", "cloudformation", "--output", "json", "--quiet", "--compact", "--skip-download")
    ran = subprocess.run(
        [CHECKOV, "--file", path, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        cwd=ROOT,
    )
    try:
        result: dict[str, Any] = json.loads(ran.stdout)
        summary = result["summary"]
    except (ValueError, KeyError, TypeError) as error:
        raise ScanError(f"checkov gave no report of {path.name}: {ran.stderr[-500:]}") from error
    if summary["parsing_errors"] or not summary["resource_count"]:
        raise ScanError(f"checkov could not read {path.name}: {summary}")
    failed = result["results"]["failed_checks"]
    return [(each["check_id"], each["check_name"], each["resource"]) for each in failed]


def of_production() -> Template:
    """The CloudFormation template of production: translated by SAM, with conditions resolved."""
    template = load_template()
    pairs = tomllib.loads((ROOT / "samconfig.toml").read_text())["prod"]["deploy"]["parameters"]
    values = default_values(template) | dict(each.split("=", 1) for each in pairs["parameter_overrides"])
    decides = choices(template)[0].keys()
    wanted = {name: value for name, value in values.items() if name in decides}
    return next(decided for choice, decided in decided_for_all(template) if choice == wanted)


def judge(findings: Iterable[Finding]) -> tuple[list[Finding], list[str]]:
    """The findings without a waiver, and the ids of unused waivers."""
    open_ones, used = [], set()
    for finding in findings:
        waiver = WAIVED.get(finding[0])
        if waiver is not None and re.fullmatch(waiver.resources, finding[2]):
            used.add(finding[0])
        else:
            open_ones.append(finding)
    return open_ones, sorted(WAIVED.keys() - used)


def scan() -> int:
    """Scan both, and print the open findings."""
    with step("template.yaml"):
        findings = checkov(ROOT / "template.yaml")
    with step("template.yaml, translated for prod"), tempfile.TemporaryDirectory() as folder:
        translated = Path(folder) / "prod.json"
        translated.write_text(json.dumps(of_production(), indent=1, default=str))
        findings += checkov(translated)
    open_ones, unused = judge(findings)
    if open_ones:
        rows = table("checkov", "check", "resource", "wants")
        for check, wants, resource in sorted(open_ones):
            rows.add_row(check, resource, wants)
        console.print(rows)
    for check in unused:
        console.print(f"[red]✗[/] the waiver of {check} waives nothing any more", markup=True)
    if not open_ones and not unused:
        console.print(
            f"checkov: {len(findings)} findings, each waived with a reason in tests/scan/template.py"
        )
    return int(bool(open_ones or unused))


def main(arguments: list[str] | None = None) -> int:
    """Scan; 1 for open findings, 2 if checkov has no result."""
    Parser(prog="make scan", description=__doc__).parse_args(arguments)
    return run(scan, failed=UNKNOWN)


if __name__ == "__main__":
    sys.exit(main())
