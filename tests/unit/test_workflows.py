"""The pipeline: its jobs run this repository's own commands, with pinned tools and least privilege."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from order_capture_ops.ephemeral import PREFIX

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMANDS = dict(re.findall(r"^([a-z][a-z.-]*):.*?## (.*)$", MAKEFILE, re.MULTILINE))
SUITES = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}

Yaml = dict[Any, Any]


def read(path: str) -> Yaml:
    loaded: Yaml = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return loaded


WORKFLOWS = {path.stem: read(str(path)) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
ACTION = read(".github/actions/setup/action.yml")
FILES = (*(ROOT / ".github/workflows").glob("*.yml"), *(ROOT / ".github/actions").glob("*/action.yml"))
JOBS = {
    f"{workflow}/{name}": job
    for workflow, definition in WORKFLOWS.items()
    for name, job in definition["jobs"].items()
}
WITH_STEPS = {name: job for name, job in JOBS.items() if "steps" in job}
RELEASE = WORKFLOWS["release"]["jobs"]
ON_AWS = {"release/ephemeral", "release/delete-ephemeral", "release/dev", "release/prod"}


def commands() -> Iterator[str]:
    """What steps run."""
    for steps in (*(job["steps"] for job in WITH_STEPS.values()), ACTION["runs"]["steps"]):
        yield from (step["run"] for step in steps if "run" in step)


def runs(job: Yaml) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def triggers(workflow: Yaml) -> Yaml:
    found: Yaml = workflow[True]  # YAML 1.1 reads `on` so
    return found


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_step_is_a_command_of_this_repository(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        goal, *variables = arguments
        assert goal in COMMANDS.keys() | SUITES
        taken = {"STACK", "ARGS"} | set(re.findall(r"([A-Z_]+)=", COMMANDS.get(goal, "")))
        assert {each.partition("=")[0] for each in variables} <= taken
    else:
        script = ROOT / program
        assert script.stat().st_mode & 0o111, f"{program} can be run"
        known = script.read_text(encoding="utf-8")
        assert all(option in known for option in arguments if option.startswith("--"))
    assert "${{" not in command, "what comes from outside is a variable of the shell, and never code"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_action_of_somebody_else_is_pinned_by_its_commit_with_the_version_beside_it(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    assert used
    for action, comment in used:
        if action.startswith("./"):
            assert (ROOT / action).exists()
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_read_the_repository_and_nothing_else(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert WORKFLOWS[name]["concurrency"]["group"]


def test_only_the_jobs_that_deploy_may_ask_for_a_role() -> None:
    own = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert own == {name: {"contents": "read", "id-token": "write"} for name in ON_AWS}


def test_no_job_has_a_stored_key() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "secrets." not in text, path
        assert "aws-access-key-id" not in text, path


@pytest.mark.parametrize("name", WITH_STEPS)
def test_a_job_ends_in_time_and_leaves_no_credentials_behind(name: str) -> None:
    job = WITH_STEPS[name]
    checkout = job["steps"][0]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"] == {"persist-credentials": False}
    assert 0 < job["timeout-minutes"] <= 120
    assert job["runs-on"] == "ubuntu-24.04"


def test_a_change_runs_everything_on_the_oldest_python() -> None:
    assert triggers(WORKFLOWS["ci"]).keys() == {"pull_request", "workflow_call"}
    assert RELEASE["ci"] == {"uses": "./.github/workflows/ci.yml"}, "and so does main"
    assert runs(WORKFLOWS["ci"]["jobs"]["test"]) == [".ci/run"]
    assert runs(WORKFLOWS["ci"]["jobs"]["scan"]) == ["make scan"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (python,) = [step for step in ACTION["runs"]["steps"] if "setup-python" in step.get("uses", "")]
    assert project["requires-python"] == f">={python['with']['python-version']}"


def test_only_main_is_deployed() -> None:
    assert triggers(WORKFLOWS["release"]) == {"push": {"branches": ["main"]}}
    assert {name for name in JOBS if "environment" in JOBS[name]} == ON_AWS
    for name, workflow in WORKFLOWS.items():
        assert "pull_request_target" not in triggers(workflow), f"{name} has rights, and runs others' code"


def test_the_ephemeral_stack_is_tested_by_all_three_and_its_name_may_be_deleted() -> None:
    stack = WORKFLOWS["release"]["env"]["EPHEMERAL_STACK"]
    assert stack == PREFIX + "${{ github.run_id }}", "a new attempt at a job means the same stack"
    deploy, *tests = runs(RELEASE["ephemeral"])
    assert deploy == './deploy.sh --env ci --stack "$EPHEMERAL_STACK" --yes'
    assert [shlex.split(test)[1] for test in tests] == ["deployed", "postman-run", "fuzz"]
    assert all('STACK="$EPHEMERAL_STACK"' in test for test in tests)


def test_it_is_deleted_whatever_happens_to_the_job_that_made_it() -> None:
    job = RELEASE["delete-ephemeral"]
    assert job["needs"] == "ephemeral"
    assert job["if"] == "always() && needs.ephemeral.result != 'skipped'"
    assert runs(job) == ['./deploy.sh --env ci --stack "$EPHEMERAL_STACK" --delete --yes']


def test_dev_comes_after_the_tests_and_prod_after_dev_and_an_approval() -> None:
    assert RELEASE["ephemeral"]["needs"] == "ci"
    assert RELEASE["dev"]["needs"] == ["ephemeral", "delete-ephemeral"]
    assert (RELEASE["prod"]["needs"], RELEASE["prod"]["environment"]) == ("dev", "prod")
    for job, environment in (("dev", "dev"), ("prod", "prod")):
        assert RELEASE[job]["environment"] == environment
        assert f"./deploy.sh --env {environment} --yes" in runs(RELEASE[job])
        assert "if" not in RELEASE[job], "a job that failed before stops it"
    assert WORKFLOWS["release"]["concurrency"]["cancel-in-progress"] is False


def test_what_changes_without_a_commit_is_looked_at_every_night() -> None:
    assert [each.keys() for each in triggers(WORKFLOWS["scheduled"])["schedule"]] == [{"cron"}]
    jobs = WORKFLOWS["scheduled"]["jobs"]
    assert {command for job in jobs.values() for command in runs(job)} == {
        *("make prove", "make scan", "make scan-dependencies")
    }


def test_everything_that_is_pinned_is_updated() -> None:
    updates = read(".github/dependabot.yml")["updates"]
    folders = {
        (update["package-ecosystem"], folder)
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    npm = {
        ("npm", f"/{'' if path.parent == ROOT else path.parent.relative_to(ROOT)}")
        for path in (ROOT / "package-lock.json", *ROOT.glob("*/package-lock.json"))
    }
    own_actions = (ROOT / ".github/actions").glob("*/*.yml")
    actions = {
        ("github-actions", "/"),
        *(("github-actions", f"/{path.parent.relative_to(ROOT)}") for path in own_actions),
    }
    assert folders == {("uv", "/requirements"), *npm, *actions}
