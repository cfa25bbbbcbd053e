"""deploy.sh refuses at once what would fail after minutes, and names the allowed values."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.template import ROOT, Template, load_template

LONGEST = {"QueueName": 80, "LayerName": 140, "Name": 128}  # SQS, Lambda, API Gateway
ON_AWS = {"PATH": "/usr/bin:/bin", "SAM": "false"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that deploy.sh reads before it runs anything."""
    for name in ("deploy.sh", "samconfig.toml", "template.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def deploy(checkout: Path, *options: str) -> tuple[int, str]:
    ran = subprocess.run(
        ["./deploy.sh", *options],
        cwd=checkout, env=ON_AWS, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=30,
    )  # fmt: skip
    return ran.returncode, ran.stdout


def name_the_stack(checkout: Path, name: str) -> None:
    config = checkout / "samconfig.toml"
    config.write_text(config.read_text().replace('"order-capture-dev"', f'"{name}"'))


def longest_stack_name(template: Template) -> int:
    """The longest stack name for which AWS accepts all derived names."""
    room = []
    for definition in template["Resources"].values():
        for key in LONGEST.keys() & definition.get("Properties", {}).keys():
            text = str(definition["Properties"][key])
            if "AWS::StackName" in text:
                suffix = re.search(r"\$\{AWS::StackName\}([\w-]*)", text)
                room.append(LONGEST[key] - len(suffix[1] if suffix else ""))
    return min(room)


def test_a_stack_name_is_as_long_as_the_names_made_from_it_allow(checkout: Path) -> None:
    # GIVEN the longest name for which AWS accepts all derived names
    longest = longest_stack_name(load_template())
    name_the_stack(checkout, "a" * longest)
    # THEN its length is accepted: the next error is the missing region
    _, output = deploy(checkout, "--env", "dev")
    assert "characters" not in output
    # AND with one character more it is refused
    name_the_stack(checkout, "a" * longest)
    config = checkout / "samconfig.toml"
    config.write_text(config.read_text().replace("a" * longest, "a" * (longest + 1)))
    code, output = deploy(checkout, "--env", "dev")
    assert code == 1
    assert f"the stack's name has {longest + 1} characters, and {longest} are the most" in output


def test_a_longer_name_of_a_queue_leaves_less_for_the_stack(checkout: Path) -> None:
    template = checkout / "template.yaml"
    longer = "webhook-dispatcher" + "r" * 50
    template.write_text(template.read_text().replace("QueueName: webhook-dispatcher", f"QueueName: {longer}"))
    name_the_stack(checkout, "twenty-letters-stack")
    assert "and 11 are the most" in deploy(checkout, "--env", "dev")[1]


def test_a_longer_name_of_a_queue_that_no_loop_makes_does_as_well(checkout: Path) -> None:
    template = checkout / "template.yaml"
    template.write_text(template.read_text().replace("}-webhook-sender", "}-webhook-sender" + "r" * 54))
    name_the_stack(checkout, "twenty-letters-stack")
    assert "and 11 are the most" in deploy(checkout, "--env", "dev")[1]


@pytest.mark.parametrize("name", ["1-stack", "my_stack", "my stack"])
def test_a_stack_name_that_cloudformation_refuses_is_refused_first(checkout: Path, name: str) -> None:
    name_the_stack(checkout, name)
    code, output = deploy(checkout, "--env", "dev")
    assert code == 1
    assert "may hold letters, digits and hyphens and begins with a letter" in output


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ([], "--env dev, --env prod, --env local or --env ci"),
        (["--env"], "--env dev, --env prod, --env local or --env ci"),
        (["--env", "staging"], "There are dev, prod, local and ci"),
        (["--env=dev", "--force"], "unknown option: --force"),
        (["--env", "dev", "--delete", "--dry-run"], "--delete goes with neither --guided nor --dry-run"),
        (
            ["--env", "dev", "--delete", "--allow-replacement"],
            "--allow-replacement does not go with --delete",
        ),
        (["--env", "dev", "--guided", "--yes"], "--guided asks, so it goes with neither --dry-run nor --yes"),
        (["--env", "ci"], "--env ci needs --stack NAME, which begins with order-capture-ci-"),
        (["--env", "ci", "--stack"], "--stack takes a name that begins with order-capture-ci-"),
        (["--env", "ci", "--stack", "order-capture-ci-"], "--stack takes a name that begins with"),
        (["--env", "ci", "--stack=order-capture-prod", "--delete", "--yes"], "not: order-capture-prod"),
        (["--env", "prod", "--stack", "order-capture-ci-1", "--delete"], "prod has a stack of its own"),
        (["--env", "dev", "--stack=order-capture-ci-1"], "--stack goes with --env ci and --env local only"),
        (["--env", "ci", "--stack=order-capture-ci-1", "--guided"], "so it does not go with --stack"),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_allowed(
    checkout: Path, options: list[str], allowed: str
) -> None:
    code, output = deploy(checkout, *options)
    assert code == 2
    assert allowed in output
    assert "Usage: ./deploy.sh --env dev|prod|local" in output


@pytest.mark.parametrize("name", ["order-capture-ci-a_b", "order-capture-ci-" + "1" * 70])
def test_the_name_of_an_ephemeral_stack_is_one_that_aws_takes(checkout: Path, name: str) -> None:
    code, output = deploy(checkout, "--env", "ci", "--stack", name)
    assert code == 1
    assert "It is what --stack says." in output
