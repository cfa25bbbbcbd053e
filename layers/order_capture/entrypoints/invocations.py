"""An invocation of a function: the wrapper of every handler, with its logs and time budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.adapters import metrics, time_budget
from order_capture.entrypoints import logs, snapshots

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Handler = Callable[[dict[str, Any], LambdaContext | None], Result]


SMOKE_TEST: Mapping[str, Any] = {"smokeTest": True}
"""The event of a smoke test. It takes permission to invoke the function directly: a request or a message is
always inside an event of its service."""


class InvocationFailedError(Exception):
    """An invocation failed; the log has the cause. Lambda logs and returns its text: no personal data."""


def invocation(handle: Handler[Result], smoke_test: Callable[[], Result] | None = None) -> Handler[Result]:
    """The Lambda handler around `handle`: it sets up logs and the time budget, and redacts errors.

    Without a context, as in a test, there is no time limit.

    Args:
        handle: handles an event.
        smoke_test: imports and builds what events need, and changes nothing. It returns the same type.
    """

    @wraps(handle)
    def handler(event: dict[str, Any], context: LambdaContext | None) -> Result:
        # Removes the last invocation's fields from the log.
        logs.configure().structure_logs(function_request_id=context.aws_request_id if context else None)
        time_budget.start(_remaining_seconds(context))
        try:
            if smoke_test and event == SMOKE_TEST:
                return smoke_test()
            return handle(event, context)
        except Exception as error:
            logger.exception("failed")
            # Without the cause: the runtime may log that as well.
            raise InvocationFailedError(logs.described(error)) from None
        finally:
            metrics.flush()

    if smoke_test:
        snapshots.before_snapshot(lambda: handler({**SMOKE_TEST}, None))
    return handler


def _remaining_seconds(context: LambdaContext | None) -> float:
    return float("inf") if context is None else context.get_remaining_time_in_millis() / 1000
