"""What comes over a WebSocket connection in, the answers out. A bad message never ends its connection."""

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
"""The subprotocol. A page in a browser offers it and its token, and is answered with it."""

MAX_REQUESTED = 200  # characters of a message that are repeated to who sent it: all of any good one


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of a client. Over one connection it is always the same client."""

    connection_id: str
    text: str
    caller: Caller


OnMessage = Callable[[Frame], Mapping[str, Any]]
"""What a client is answered; it becomes JSON."""

OnDisconnect = Callable[[str], None]
"""Removes what there is of a connection that has ended."""


def socket_handler(
    listen: OnMessage, forget: OnDisconnect, prepare: Callable[[], object]
) -> Handler[dict[str, Any]]:
    """The Lambda handler of a WebSocket API's routes.

    `prepare` imports and builds what it needs, for a smoke test.

    What kind of event it is, API Gateway says: a client may name any route.
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
    """The subprotocols that a client offers, by headers in lower case."""
    return [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]


def _chosen_protocol(event: Mapping[str, Any]) -> dict[str, str]:
    """A browser gives a connection up whose protocols are not answered with one of them."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return {"Sec-WebSocket-Protocol": PROTOCOL} if PROTOCOL in offered_protocols(headers) else {}


def answer_to(event: Mapping[str, Any], listen: OnMessage) -> Mapping[str, Any]:
    """What a client is answered to a message: what `listen` says, or what is wrong with it."""
    context, text = event["requestContext"], event.get("body") or ""
    try:
        caller = caller_from_context(context.get("authorizer") or {})
        return listen(Frame(context["connectionId"], text, caller))
    except Exception as error:
        document = problem(error, context["requestId"])
        if document["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.exception("failed", extra={"request_id": context["requestId"]})
        # Which of its messages it is about, the client sees by the message itself.
        return {"problem": document, "asked": text[:MAX_REQUESTED]}
