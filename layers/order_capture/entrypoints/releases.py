"""The CodeDeploy hook that runs before traffic is shifted to a new version.

See the CodeDeploy user guide, "AppSpec 'hooks' section for an AWS Lambda deployment".
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.adapters import releases
from order_capture.entrypoints.invocations import SMOKE_TEST, Handler, invocation

logger = logging.getLogger(__name__)


def smoke_test_handler() -> Handler[None]:
    """The Lambda handler of the hook BeforeAllowTraffic.

    It always reports to CodeDeploy, which would otherwise wait for an hour.
    """

    def handle(event: dict[str, Any], _context: LambdaContext | None) -> None:
        deployment_id, hook_id = event["DeploymentId"], event["LifecycleEventHookExecutionId"]
        try:
            fault = fault_in(*releases.call(releases.version_of(deployment_id), SMOKE_TEST))
        except Exception as error:
            logger.exception("the new version could not be called", extra={"deployment": deployment_id})
            fault = type(error).__name__
        if fault:
            logger.error("the new version fails: %s", fault, extra={"deployment": deployment_id})
        releases.report(deployment_id, hook_id, passed=not fault)

    return invocation(handle)


def fault_in(error: str | None, answer: Any) -> str:
    """The fault in a function's response to a smoke test; empty if there is none."""
    if error:
        return f"{error}: {answer}"
    found = answer if isinstance(answer, dict) else {}
    if found.get("statusCode", 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"status {found['statusCode']}"
    if found.get("batchItemFailures"):
        return "it reports a failed message for an empty batch"
    return ""
