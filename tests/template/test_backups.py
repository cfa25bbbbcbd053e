"""AWS Backup in the translated template: the tables, the retention, the permissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from order_capture_ops.restore.tables import TABLES
from tests.support.template import Template
from tests.template.translation import decided

BACKED_UP = {"Platform": "aws", "BackupRetentionDays": "90"}


def deployed(parameters: Mapping[str, str]) -> list[Template]:
    """What is deployed with these parameters, for any values of the others."""
    return [template for choice, template in decided() if parameters.items() <= {**dict(choice)}.items()]


def of_backup(template: Template) -> dict[str, Any]:
    return {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"].startswith("AWS::Backup::") or name == "BackupRole"
    }


@pytest.mark.parametrize(
    "parameters", [{"Platform": "local"}, {"Platform": "aws", "BackupRetentionDays": "0"}], ids=str
)
def test_there_is_none_unless_it_is_asked_for(parameters: dict[str, str]) -> None:
    templates = deployed(parameters)
    assert templates
    assert not any(of_backup(template) for template in templates)


def test_every_table_that_a_restore_needs_is_backed_up_and_no_other() -> None:
    (template, *_) = deployed(BACKED_UP)
    selected = template["Resources"]["BackupSelection"]["Properties"]["BackupSelection"]["Resources"]
    assert selected == [{"Fn::GetAtt": [table, "Arn"]} for table in TABLES]


def test_backups_are_kept_as_long_as_the_parameter_says_and_never_in_cold_storage() -> None:
    (template, *_) = deployed(BACKED_UP)
    rules = template["Resources"]["BackupPlan"]["Properties"]["BackupPlan"]["BackupPlanRule"]
    (lifecycle,) = (rule["Lifecycle"] for rule in rules)
    assert {key: str(value) for key, value in lifecycle.items()} == {"DeleteAfterDays": "90"}


def test_the_vault_stays_like_the_tables() -> None:
    (template, *_) = deployed(BACKED_UP)
    vault, table = (template["Resources"][name] for name in ("BackupVault", "OrderTable"))
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        assert vault[policy] == table[policy]


def test_the_vaults_name_is_one_that_aws_backup_takes() -> None:
    # GIVEN the last part of a stack's id, a UUID
    (template, *_) = deployed(BACKED_UP)
    text, _ = template["Resources"]["BackupVault"]["Properties"]["BackupVaultName"]["Fn::Sub"]
    # THEN the name has at most 50 characters (CloudFormation, AWS::Backup::BackupVault)
    assert len(text.replace("${Unique}", "5a1f0c7e-1111-2222-3333-444455556666")) <= 50


def test_its_role_may_back_up_these_tables_and_nothing_else() -> None:
    (template, *_) = deployed(BACKED_UP)
    role = template["Resources"]["BackupRole"]["Properties"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "backup.amazonaws.com"}
    (policy,) = role["Policies"]
    of_tables, of_backups, of_vault = policy["PolicyDocument"]["Statement"]
    assert of_tables["Resource"] == [{"Fn::GetAtt": [table, "Arn"]} for table in TABLES]
    assert of_backups["Resource"] == [{"Fn::Sub": f"${{{table}.Arn}}/backup/*"} for table in TABLES]
    assert of_vault["Resource"] == {"Fn::GetAtt": ["BackupVault", "BackupVaultArn"]}
    # as in AWS's own policy, AWSBackupServiceRolePolicyForBackup
    assert {*of_tables["Action"]} == {
        "dynamodb:DescribeTable",
        "dynamodb:CreateBackup",
        "dynamodb:StartAwsBackupJob",
        "dynamodb:ListTagsOfResource",
    }
    assert {*of_backups["Action"]} == {"dynamodb:DescribeBackup", "dynamodb:DeleteBackup"}
