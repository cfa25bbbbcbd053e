"""API Gateway's proxy events in, its answers out. Nothing that a route raises gets past here."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from order_capture.adapters import jsontext, logs
from order_capture.adapters.problems import RETRY_AFTER_SECONDS, FieldError, RequestInvalidError, problem
from order_capture.domain.errors import NotFoundError

logger = logging.getLogger(__name__)

CORRELATION_HEADER = "X-Correlation-Id"
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the routes see it. Header names are in lower case: clients write them as they like."""

    body: bytes
    path: Mapping[str, str]
    headers: Mapping[str, str]
    request_id: str

    @property
    def correlation_id(self) -> str:
        """The client's own name for this request if it gave one, else the request's id.

        Raises:
            RequestInvalidError: it is too long, or not plain text.
        """
        return self._header(CORRELATION_HEADER, limit=128) or self.request_id

    @property
    def idempotency_key(self) -> str | None:
        """The client's key, if it gave one.

        Raises:
            RequestInvalidError: it is empty, too long, or not plain text.
        """
        return self._header(KEY_HEADER, limit=255)

    def _header(self, name: str, limit: int) -> str | None:
        value = self.headers.get(name.lower())
        if value is not None and not re.fullmatch(f"[!-~]([ -~]{{0,{limit - 2}}}[!-~])?", value):
            message = f"must be 1 to {limit} printable ASCII characters"
            raise RequestInvalidError([FieldError(name, message)])
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers; `body` becomes JSON."""

    body: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[Request], Response]
Routes = Mapping[tuple[str, str], Route]


def http_handler(routes: Routes) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """The Lambda handler of an API function. `routes` maps (method, resource path) to what answers it."""

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        logs.configure()
        context = event.get("requestContext") or {}
        request = Request(
            body=_body(event),
            path=event.get("pathParameters") or {},
            headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
            request_id=context.get("requestId") or "",
        )
        name = f"{event.get('httpMethod')} {event.get('resource')}"
        response, media_type = _answer(routes, event, request)
        logger.info(
            "%s: %d", name, response.status, extra={"request_id": request.request_id, **_ids(response.body)}
        )
        return {
            "statusCode": int(response.status),
            "headers": {"Content-Type": media_type, **response.headers},
            "body": jsontext.dumps(response.body),
        }

    return handler


def _answer(routes: Routes, event: Mapping[str, Any], request: Request) -> tuple[Response, str]:
    correlated: dict[str, str] = {CORRELATION_HEADER: request.request_id}
    try:
        correlated = {CORRELATION_HEADER: request.correlation_id}
        route = routes.get((event.get("httpMethod", ""), event.get("resource", "")))
        if route is None:
            raise NotFoundError("There is no such route.")
        response = route(request)
        return Response(response.body, response.status, {**correlated, **response.headers}), _JSON
    except Exception as error:
        body = problem(error, request.request_id)
        status = HTTPStatus(body["status"])
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.exception("failed", extra={"request_id": request.request_id})
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            logger.warning("unavailable: %s", error, extra={"request_id": request.request_id})
            correlated["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return Response(body, status, correlated), _PROBLEM_JSON


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass")


def _ids(body: Mapping[str, Any]) -> dict[str, Any]:
    """What to find a log line by. Nothing else of a body is logged."""
    return {"order_id": body["orderId"]} if "orderId" in body else {}


_JSON = "application/json"
_PROBLEM_JSON = "application/problem+json"
