"""The Lambda handler of an API's function.

Separate from the routes (api.py), which can also be served without Lambda's clients and time budget.
"""

from __future__ import annotations

import re
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.entrypoints.http.api import RestApi
from order_capture.entrypoints.invocations import Handler, invocation

PROBE = "smoke-test"
_PROBE_CLAIMS = {"token_use": "access", "client_id": PROBE, "sub": PROBE}  # nosec B105 # a claim


def api_handler(app: RestApi, probe: str) -> Handler[dict[str, Any]]:
    """The Lambda handler of an API's function.

    Args:
        app: its routes.
        probe: the path, as in the contract, of a route whose GET may find nothing.
    """
    request = {
        "httpMethod": "GET",
        "resource": probe,
        "path": probe,
        "headers": {"host": "localhost"},
        "multiValueQueryStringParameters": None,
        "pathParameters": dict.fromkeys(re.findall(r"\{(\w+)\}", probe), PROBE),
        "requestContext": {"requestId": PROBE, "authorizer": {"claims": _PROBE_CLAIMS}},
    }

    def handle(event: dict[str, Any], context: LambdaContext | None) -> dict[str, Any]:
        return app.resolve(event, context)

    return invocation(handle, lambda: app.resolve(request, None))
