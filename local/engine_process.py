"""The engine's process: ministack, with two things set right.

Batch calls are authorised the way AWS does it: `sns:PublishBatch` and the like do not exist as permissions
there, `sns:Publish` covers both calls, and a role made for AWS has no other. And a process that does not
start fails its own call only (see `_invoke_alone`). It runs in the engine's environment.
"""

from typing import Any

from ministack import app
from ministack.core import iam_actions, lambda_runtime

_COVERED_BY = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}
_named_after_the_call = iam_actions.extract_iam_action


def _extract_iam_action(*request: Any, **more: Any) -> str | None:
    action: str | None = _named_after_the_call(*request, **more)
    return _COVERED_BY.get(action, action) if action else None


_invoke = lambda_runtime.Worker.invoke


def _invoke_alone(worker: Any, *arguments: Any, **more: Any) -> Any:
    """A function's process that does not start fails its own call only.

    ministack would discard all processes of that function, those included that are starting at this moment,
    whose calls then fail likewise: where several start at once, it never recovers.
    """
    try:
        return _invoke(worker, *arguments, **more)
    except Exception as error:
        process, worker._proc = worker._proc, None
        lambda_runtime._signal(process)
        return {"status": "error", "error": str(error), "cold_start": True}


if __name__ == "__main__":
    lambda_runtime.Worker.invoke = _invoke_alone
    iam_actions.extract_iam_action = _extract_iam_action
    app.main()
