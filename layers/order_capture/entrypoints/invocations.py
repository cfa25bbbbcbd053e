"""One call of a function: what every handler has around it, and how much of its time is left."""

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
"""The event of a smoke test. Only who may invoke the function itself can send it: a request or a message is
always inside an event of its own."""


class InvocationFailedError(Exception):
    """A call has failed; the log says why. Its text names nobody, as Lambda logs it and answers it."""


def invocation(handle: Handler[Result], smoke_test: Callable[[], Result] | None = None) -> Handler[Result]:
    """The Lambda handler around `handle`: its logs are visible, its time known, and its errors discreet.

    Without a context, as in a test, there is all the time in the world.

    Args:
        handle: handles an event.
        smoke_test: imports and builds what events need, and changes nothing. It answers as an event is.
    """

    @wraps(handle)
    def handler(event: dict[str, Any], context: LambdaContext | None) -> Result:
        # Nothing of the last call stays in the lines of this one.
        logs.configure().structure_logs(function_request_id=context.aws_request_id if context else None)
        time_budget.start(_remaining_seconds(context))
        try:
            if smoke_test and event == SMOKE_TEST:
                return smoke_test()
            return handle(event, context)
        except Exception as error:
            logger.exception("failed")
            # Not as its cause: the runtime may write that down as well.
            raise InvocationFailedError(logs.described(error)) from None
        finally:
            metrics.flush()

    if smoke_test:
        snapshots.before_snapshot(lambda: handler({**SMOKE_TEST}, None))
    return handler


def _remaining_seconds(context: LambdaContext | None) -> float:
    return float("inf") if context is None else context.get_remaining_time_in_millis() / 1000
