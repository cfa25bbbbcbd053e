"""The engine's process: ministack, with batch calls authorised the way AWS authorises them.

On AWS `sns:PublishBatch` and the like do not exist as permissions: `sns:Publish` covers both calls. ministack
asks for an action named after the call, which a role made for AWS does not have. It runs in the engine's
environment.
"""

from typing import Any

from ministack import app
from ministack.core import iam_actions

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


if __name__ == "__main__":
    iam_actions.extract_iam_action = _extract_iam_action
    app.main()
