"""Answer the messages of WebSocket connections. An invalid message never ends its connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from order_capture.adapters.serializers import decimal_json
from order_capture.application.callers import Caller
from order_capture.entrypoints.callers import caller_from_context
from order_capture.entrypoints.http.problems import problem
from order_capture.entrypoints.invocations import Handler, invocation

logger = logging.getLogger(__name__)

PROTOCOL = "order-capture"
"""The subprotocol. A browser page offers it and its token, and the response selects it."""

MAX_REQUESTED = 200  # characters of a message that are repeated to its sender: all of any valid one


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of a client. A connection always belongs to one client."""

    connection_id: str
    text: str
    caller: Caller


OnMessage = Callable[[Frame], Mapping[str, Any]]
"""Returns the response to a client, which becomes JSON."""

OnDisconnect = Callable[[str], None]
"""Removes the subscriptions of a connection that has ended."""


def socket_handler(
    listen: OnMessage, forget: OnDisconnect, prepare: Callable[[], object]
) -> Handler[dict[str, Any]]:
    """The Lambda handler of a WebSocket API's routes.

    `prepare` imports and builds what it needs, for a smoke test.

    API Gateway's event type decides: a client may name any route.
    """

    def handle(event: dict[str, Any], _context: LambdaContext | None) -> dict[str, Any]:
        context = event["requestContext"]
        kind, connection_id = context["eventType"], context["connectionId"]
        answer: dict[str, Any] = {"statusCode": int(HTTPStatus.OK)}
        if kind == "CONNECT":
            answer["headers"] = _chosen_protocol(event)
        elif kind == "DISCONNECT":
            forget(connection_id)
        else:
            answer["body"] = decimal_json.dumps(answer_to(event, listen))
        logger.info(kind.lower(), extra={"request_id": context["requestId"], "connection_id": connection_id})
        return answer

    def smoke_test() -> dict[str, Any]:
        prepare()
        return {"statusCode": int(HTTPStatus.OK)}

    return invocation(handle, smoke_test)


def offered_protocols(headers: Mapping[str, str]) -> list[str]:
    """The subprotocols that a client offers. `headers` have lower-case names."""
    return [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]


def _chosen_protocol(event: Mapping[str, Any]) -> dict[str, str]:
    """The header that selects our subprotocol. Without one, a browser that offered some disconnects."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return {"Sec-WebSocket-Protocol": PROTOCOL} if PROTOCOL in offered_protocols(headers) else {}


def answer_to(event: Mapping[str, Any], listen: OnMessage) -> Mapping[str, Any]:
    """The response to a client's message: the result of `listen`, or a problem."""
    context, text = event["requestContext"], event.get("body") or ""
    try:
        caller = caller_from_context(context.get("authorizer") or {})
        return listen(Frame(context["connectionId"], text, caller))
    except Exception as error:
        document = problem(error, context["requestId"])
        if document["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.exception("failed", extra={"request_id": context["requestId"]})
        # The repeated message shows the client which one failed.
        return {"problem": document, "asked": text[:MAX_REQUESTED]}
