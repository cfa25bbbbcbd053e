"""The smoke test's report to CodeDeploy, and the hooks of a function's snapshot."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from order_capture.adapters import aws_clients, releases
from order_capture.entrypoints import snapshots
from order_capture.entrypoints.releases import smoke_test_handler

EVENT = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"}


class Aws:
    """CodeDeploy with one deployment, and its version, which returns the chosen response."""

    def __init__(self, answer: object, error: str | None = None, form: str = "string") -> None:
        properties = {"Name": "order-api", "Alias": "live", "CurrentVersion": "1", "TargetVersion": "2"}
        function = {"Type": "AWS::Lambda::Function", "Properties": properties}
        self.revision: dict[str, Any] = {
            "revisionType": form[0].upper() + form[1:],
            form: {"content": json.dumps({"version": 0.0, "Resources": [{"OrderApi": function}]})},
        }
        self._answer, self._error = answer, error
        self.called: list[tuple[str, str, dict[str, Any]]] = []
        self.reported: list[dict[str, str]] = []

    def get_deployment(self, **_: str) -> dict[str, Any]:
        return {"deploymentInfo": {"revision": self.revision}}

    def put_lifecycle_event_hook_execution_status(self, **status: str) -> None:
        self.reported.append(status)

    def invoke(self, FunctionName: str, Qualifier: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.called.append((FunctionName, Qualifier, json.loads(Payload)))
        failed = {"FunctionError": self._error} if self._error else {}
        return {"Payload": io.BytesIO(json.dumps(self._answer).encode()), **failed}


Release = Callable[[Aws], str]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Release:
    """Runs the hook for a deployment, and returns the status reported to CodeDeploy."""

    def run(aws: Aws) -> str:
        monkeypatch.setattr(releases, "client", lambda service: aws)
        monkeypatch.setattr(releases, "session", lambda: SimpleNamespace(client=lambda *_, **__: aws))
        smoke_test_handler()(EVENT, None)
        (status,) = aws.reported
        assert (status["deploymentId"], status["lifecycleEventHookExecutionId"]) == ("d-1", "hook-1")
        return status["status"]

    return run


@pytest.mark.parametrize("form", ["string", "appSpecContent"])
@pytest.mark.parametrize("answer", [{"batchItemFailures": []}, {"statusCode": 404, "body": "{}"}, {}, None])
def test_a_version_that_answers_gets_traffic(release: Release, answer: object, form: str) -> None:
    aws = Aws(answer, form=form)

    assert release(aws) == "Succeeded"
    assert aws.called == [("order-api", "2", {"smokeTest": True})]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"errorType": "Runtime.ImportModuleError"}, "Unhandled"),
        ({"statusCode": 503, "body": "{}"}, None),
        ({"batchItemFailures": [{"itemIdentifier": "1"}]}, None),
    ],
)
def test_a_version_that_fails_gets_none(release: Release, answer: object, error: str | None) -> None:
    assert release(Aws(answer, error)) == "Failed"


def test_codedeploy_is_answered_even_if_the_version_cannot_be_found(release: Release) -> None:
    aws = Aws({})
    aws.revision = {}

    assert release(aws) == "Failed"
    assert aws.called == []


class TestSnapshots:
    @pytest.fixture
    def hooks(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """Lambda's runtime where a function has SnapStart, and what was registered there."""
        found = SimpleNamespace(before=[], after=[])
        found.register_before_snapshot = lambda hook, *arguments: found.before.append((hook, arguments))
        found.register_after_restore = lambda hook, *arguments: found.after.append((hook, arguments))
        monkeypatch.setitem(sys.modules, "snapshot_restore_py", found)
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
        return found

    def test_a_function_is_tried_once_before_its_snapshot(self, hooks: SimpleNamespace) -> None:
        done: list[str] = []
        snapshots.before_snapshot(lambda: done.append("tried"))

        for hook, arguments in hooks.before:
            hook(*arguments)

        assert done == ["tried"]

    def test_a_failed_try_does_not_keep_the_snapshot_from_being_taken(self, hooks: SimpleNamespace) -> None:
        def fail() -> None:
            raise OSError

        snapshots.before_snapshot(fail)

        for hook, arguments in hooks.before:
            hook(*arguments)

    def test_environments_of_one_snapshot_do_not_share_their_randomness(self, hooks: SimpleNamespace) -> None:
        snapshots.before_snapshot(lambda: None)
        snapshot = random.getstate()

        def restored() -> float:
            random.setstate(snapshot)
            for hook, arguments in hooks.after:
                hook(*arguments)
            return random.random()

        assert restored() != restored()

    def test_neither_do_they_share_connections(
        self, hooks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed: list[str] = []
        client = SimpleNamespace(close=lambda: closed.append("closed"))
        monkeypatch.setattr(aws_clients, "_made", [client])
        snapshots.before_snapshot(lambda: None)

        for hook, arguments in [*hooks.before, *hooks.after]:
            hook(*arguments)

        assert closed == ["closed", "closed"]

    def test_without_snapstart_nothing_is_registered(
        self, hooks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")

        snapshots.before_snapshot(lambda: None)

        assert (hooks.before, hooks.after) == ([], [])
