"""API Gateway's proxy events in, its answers out. Nothing that a route raises gets past here."""

from __future__ import annotations

import base64
import logging
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from order_capture.adapters.serializers import decimal_json
from order_capture.application.callers import Caller
from order_capture.config import optional_env
from order_capture.domain.errors import NotFoundError
from order_capture.entrypoints.callers import caller_from_event
from order_capture.entrypoints.http.problems import (
    RETRY_AFTER_SECONDS,
    FieldError,
    MethodNotAllowedError,
    RequestInvalidError,
    UnsupportedMediaTypeError,
    is_retryable,
    problem,
    shown_name,
)
from order_capture.entrypoints.invocations import invocation

logger = logging.getLogger(__name__)

CORRELATION_HEADER = "X-Correlation-Id"
KEY_HEADER = "Idempotency-Key"
TAGS_HEADER = "If-None-Match"
JSON = "application/json"
MAX_TAGS = 256  # characters: room for a dozen tags of ours


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the routes see it. Header names are in lower case: clients write them as they like."""

    body: bytes
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    request_id: str
    caller: Caller
    operation: str = ""
    """Method and route, as the contract has them: `POST /order/{orderId}/cancel`."""

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

    @property
    def is_conditional(self) -> bool:
        """Whether the client has an answer already, and wants only one that differs (If-None-Match)."""
        return TAGS_HEADER.lower() in self.headers

    def etag_matches(self, tag: str) -> bool:
        """Whether the client says that it has the answer with this entity tag, compared weakly.

        Raises:
            RequestInvalidError: it names too many.
        """
        known = self.headers.get(TAGS_HEADER.lower(), "")
        if len(known) > MAX_TAGS:
            raise RequestInvalidError([FieldError(TAGS_HEADER, f"must be at most {MAX_TAGS} characters")])
        tags = (each.strip().removeprefix("W/") for each in known.split(","))
        return any(each in ("*", tag.removeprefix("W/")) for each in tags)

    def parameters(self, *names: str) -> dict[str, str]:
        """The query parameters of the request, which are to be among `names` and given once each.

        Raises:
            RequestInvalidError: with every one that is not.
        """
        errors = [
            FieldError(shown_name(name), "is not a parameter of this request")
            for name in self.query.keys() - {*names}
        ]
        errors += [
            FieldError(name, "must be given once") for name in names if len(self.query.get(name, "")) > 1
        ]
        if errors:
            raise RequestInvalidError(sorted(errors, key=lambda error: error.field))
        return {name: values[0] for name, values in self.query.items()}

    def refuse_parameters(self) -> None:
        """Refuse every query parameter: this request has none.

        Raises:
            RequestInvalidError: with every one that there is.
        """
        self.parameters()

    def path_parameter(self, name: str) -> str:
        """A part of the path, as it was before the client escaped it; empty if there is none.

        A REST API passes it on as it was written, and routes by it so: an escaped slash is part of a name.
        """
        return urllib.parse.unquote(self.path.get(name, ""))

    def expect_json(self) -> None:
        """Refuse a body that its Content-Type calls something else than JSON; without one it is JSON.

        So it is to API Gateway. Parameters make no difference: JSON has none (RFC 8259).

        Raises:
            UnsupportedMediaTypeError: it is of another type.
        """
        media_type = self.headers.get("content-type", JSON).partition(";")[0].strip()
        if media_type.lower() != JSON:
            raise UnsupportedMediaTypeError

    def _header(self, name: str, limit: int) -> str | None:
        value = self.headers.get(name.lower())
        if value is not None and not re.fullmatch(f"[!-~]([ -~]{{0,{limit - 2}}}[!-~])?", value):
            message = f"must be 1 to {limit} printable ASCII characters"
            raise RequestInvalidError([FieldError(name, message)])
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers; `body` becomes JSON. Without one there is no content.

    `replayed` says that it is the answer to an earlier request with the same Idempotency-Key.
    """

    body: Mapping[str, Any] | None
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False


Route = Callable[[Request], Response]
Routes = Mapping[tuple[str, str], Route]


def http_handler(routes: Routes) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """The Lambda handler of an API function. `routes` maps (method, resource path) to what answers it.

    A HEAD is answered as its GET is, without the body.
    """

    @invocation
    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        request_id = (event.get("requestContext") or {}).get("requestId") or ""
        headers, body = {CORRELATION_HEADER: request_id, **_cors_headers()}, ""
        try:
            request = _request(event, request_id)
            headers[CORRELATION_HEADER] = request.correlation_id
            response = _route(routes, event)(request)
            status = response.status
            if response.body is not None:
                headers["Content-Type"], body = JSON, decimal_json.dumps(response.body)
            headers.update(response.headers)
            if response.replayed:
                headers["Idempotency-Replayed"] = "true"
        except Exception as error:
            told = problem(error, request_id)
            status, body = HTTPStatus(told["status"]), decimal_json.dumps(told)
            headers["Content-Type"] = "application/problem+json"
            # A 401 of ours has no WWW-Authenticate: API Gateway would rename it (x-amzn-Remapped-…).
            if isinstance(error, MethodNotAllowedError):
                headers["Allow"] = ", ".join(error.allowed)
            if is_retryable(error):
                headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.exception("failed", extra={"request_id": request_id})
        logger.info(
            "%s %s: %d",
            event.get("httpMethod"),
            event.get("resource"),
            status,
            extra={"request_id": request_id, "correlation_id": headers[CORRELATION_HEADER]},
        )
        return {"statusCode": int(status), "headers": headers, "body": "" if _is_head(event) else body}

    return handler


def _request(event: Mapping[str, Any], request_id: str) -> Request:
    body = event.get("body") or ""
    return Request(
        body=base64.b64decode(body)
        if event.get("isBase64Encoded")
        else body.encode("utf-8", "surrogatepass"),
        path=event.get("pathParameters") or {},
        query=event.get("multiValueQueryStringParameters") or {},
        headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
        request_id=request_id,
        caller=caller_from_event(event),
        operation=f"{event.get('httpMethod')} {event.get('resource')}",
    )


def _cors_headers() -> dict[str, str]:
    """What lets a browser show an answer to a page of the origin that the stack allows, if it allows one.

    It is the same for every request, so that caches need not tell them apart by their Origin.
    """
    origin = optional_env("ALLOWED_ORIGIN")
    if not origin:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}


# What a page could not read otherwise.
_EXPOSED = "ETag, Idempotency-Replayed, Link, Location, Retry-After, X-Correlation-Id"


def _route(routes: Routes, event: Mapping[str, Any]) -> Route:
    path = event.get("resource", "")
    route = routes.get(("GET" if _is_head(event) else event.get("httpMethod", ""), path))
    if route is not None:
        return route
    allowed = {method for method, of in routes if of == path}
    if not allowed:
        raise NotFoundError("There is no such route.")
    # The gateway itself answers OPTIONS.
    raise MethodNotAllowedError(sorted(allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())))


def _is_head(event: Mapping[str, Any]) -> bool:
    return event.get("httpMethod") == "HEAD"
