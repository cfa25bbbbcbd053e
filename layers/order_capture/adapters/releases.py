"""CodeDeploy deployments: find the new version of a function, call it, report whether it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import botocore.config

from order_capture.adapters.aws_clients import client, session
from order_capture.adapters.serializers import decimal_json
from order_capture.domain.errors import InvalidMessageError

# A function may take 28 seconds, plus a cold start on its first call. It is a test: no retry.
_CONFIG = botocore.config.Config(read_timeout=40, retries={"total_max_attempts": 1})


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a function that an alias is about to point to."""

    function: str
    number: str


def version_of(deployment_id: str) -> Version:
    """The version that a deployment releases.

    Raises:
        InvalidMessageError: the deployment is not about one function.
    """
    deployment = client("codedeploy").get_deployment(deploymentId=deployment_id)["deploymentInfo"]
    revision: Mapping[str, Any] = deployment.get("revision", {})
    # The API reference (RevisionLocation) has two forms of the same text.
    content = (revision.get("string") or revision.get("appSpecContent") or {}).get("content", "{}")
    resources = decimal_json.loads(content).get("Resources", [])
    found = [each["Properties"] for resource in resources for each in resource.values()]
    if len(found) != 1:
        raise InvalidMessageError(f"deployment {deployment_id} is not of one function")
    return Version(found[0]["Name"], str(found[0]["TargetVersion"]))


def call(version: Version, event: Mapping[str, Any]) -> tuple[str | None, Any]:
    """Call a version; returns Lambda's kind of error, if there was one, and the response."""
    lambdas = session().client("lambda", config=_CONFIG)
    response = lambdas.invoke(
        FunctionName=version.function, Qualifier=version.number, Payload=decimal_json.dumps(event).encode()
    )
    return response.get("FunctionError"), decimal_json.loads(response["Payload"].read() or b"null")


def report(deployment_id: str, hook_execution_id: str, *, passed: bool) -> None:
    """Report to CodeDeploy whether to continue; otherwise it rolls back."""
    client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=deployment_id,
        lifecycleEventHookExecutionId=hook_execution_id,
        status="Succeeded" if passed else "Failed",
    )
