"""Answer API Gateway's proxy events with Powertools' resolver. No error leaves this module.

Requests are validated by our own models (`requests`), not by the resolver's validation.
"""

from __future__ import annotations

import base64
import logging
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.event_handler import Response as HttpResponse
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from order_capture.adapters.serializers import decimal_json
from order_capture.application.callers import Caller
from order_capture.config import settings
from order_capture.domain.errors import NotFoundError, OperatorsOnlyError
from order_capture.entrypoints import logs
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

logger = logging.getLogger(__name__)

CORRELATION_HEADER = "X-Correlation-Id"
KEY_HEADER = "Idempotency-Key"
TAGS_HEADER = "If-None-Match"
MAX_CORRELATION_ID = 128  # characters
JSON, PROBLEM_JSON = "application/json", "application/problem+json"
MAX_TAGS = 256  # characters: room for a dozen of our tags


@dataclass(frozen=True, slots=True)
class Request:
    """A request for the routes. Header names are in lower case, since clients may use any case."""

    body: bytes
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    request_id: str
    caller: Caller
    operation: str = ""
    """Method and route as in the contract: `POST /order/{orderId}/cancel`."""
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    """The variables of the API's stage, from the template."""

    @property
    def correlation_id(self) -> str:
        """The client's correlation id if it sent one, else the request's id.

        Raises:
            RequestInvalidError: it is too long, or not plain text.
        """
        return self._header(CORRELATION_HEADER, MAX_CORRELATION_ID) or self.request_id

    @property
    def idempotency_key(self) -> str | None:
        """The client's idempotency key, if it sent one.

        Raises:
            RequestInvalidError: it is empty, too long, or not plain text.
        """
        return self._header(KEY_HEADER, limit=255)

    @property
    def is_conditional(self) -> bool:
        """Whether the client already has a response, and wants only a different one (If-None-Match)."""
        return TAGS_HEADER.lower() in self.headers

    def etag_matches(self, tag: str) -> bool:
        """Whether the client already has the response with this entity tag (weak comparison).

        Raises:
            RequestInvalidError: the client sent too many tags.
        """
        known = self.headers.get(TAGS_HEADER.lower(), "")
        if len(known) > MAX_TAGS:
            raise RequestInvalidError([FieldError(TAGS_HEADER, f"must be at most {MAX_TAGS} characters")])
        tags = (each.strip().removeprefix("W/") for each in known.split(","))
        return any(each in ("*", tag.removeprefix("W/")) for each in tags)

    def parameters(self, *names: str) -> dict[str, str]:
        """The query parameters of the request. Each must be one of `names` and be given once.

        Raises:
            RequestInvalidError: with every parameter for which this is not so.
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
        """Refuse all query parameters: this request has none.

        Raises:
            RequestInvalidError: with every parameter in the query.
        """
        self.parameters()

    def path_parameter(self, name: str) -> str:
        """An unescaped part of the path; empty if there is none.

        A REST API routes by the escaped path, and passes it on escaped: an escaped slash is part of a name.
        """
        return urllib.parse.unquote(self.path.get(name, ""))

    def expect_json(self) -> None:
        """Refuse a body whose Content-Type is not JSON. Without a Content-Type it is JSON.

        API Gateway does the same. The type's parameters are ignored: JSON has none (RFC 8259).

        Raises:
            UnsupportedMediaTypeError: the body is of another type.
        """
        media_type = self.headers.get("content-type", JSON).partition(";")[0].strip()
        if media_type.lower() != JSON:
            raise UnsupportedMediaTypeError

    def _header(self, name: str, limit: int) -> str | None:
        value = self.headers.get(name.lower())
        if value is not None and not _is_token(value, limit):
            message = f"must be 1 to {limit} printable ASCII characters"
            raise RequestInvalidError([FieldError(name, message)])
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """A route's response. A `body` that is not a text becomes JSON; None is an empty response.

    `replayed` marks the response to an earlier request with the same Idempotency-Key.
    """

    body: Mapping[str, Any] | str | None
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False
    content_type: str = JSON


Route = Callable[[Request], Response]


class RestApi(APIGatewayRestResolver):
    """The routes of an API function, added as with any Powertools resolver: `@app.post("/order")`.

    A route's path is written as in the contract, such as `/order/{orderId}`. API Gateway has matched the
    request to it, and sends it as the event's resource. The request's own path may begin with a domain's base
    path, and contains escaped ids.

    A HEAD request is answered like GET, without the body.

    Args:
        for_customers: whether customers may use it, with their token's scopes. Otherwise it is only for
            services and operators. Scopes can't separate them: they belong to an app client, and customers
            and operators sign in to the console with the same one.
    """

    def __init__(self, *, for_customers: bool = False) -> None:
        super().__init__(debug=False)  # debugging would print each event
        self._for_customers = for_customers
        self.not_found(self._refuse_route)
        self.exception_handler(Exception)(self._problem)

    def route(self, rule: str, method: Any, *args: Any, **options: Any) -> Any:
        """Add the handler of a method and path. It takes a `Request` and returns a `Response`."""
        register = super().route(rule, ["GET", "HEAD"] if method == "GET" else method, *args, **options)

        def add(answer: Route) -> Route:
            register(lambda: _written(answer(self._request())))
            return answer

        return add

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer a request."""
        request_id, correlation_id = _request_id(event), _correlation_id(event)
        logs.configure().set_correlation_id(correlation_id)
        method, resource = event.get("httpMethod") or "", event.get("resource") or ""
        # Methods are case-sensitive (RFC 9110, 9.1), but not to the resolver: "get" is not a method.
        known = method if method.isupper() else ""
        answer = super().resolve({**event, "httpMethod": known, "path": resource}, context)
        written = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        status = answer["statusCode"]
        logger.info("%s %s: %d", method, resource, status, extra={"request_id": request_id})
        return {
            "statusCode": status,
            "headers": {CORRELATION_HEADER: correlation_id, **_cors_headers(), **written},
            "body": "" if method == "HEAD" else answer["body"],
        }

    @property
    def routes(self) -> set[tuple[str, str]]:
        """The method and path of each route."""
        return {(route.method, route.path or "/") for route in self._static_routes}

    def _request(self) -> Request:
        request = _request(self.current_event, self._caller())
        _ = request.correlation_id  # raises if it is not valid
        return request

    def _caller(self) -> Caller:
        """The caller of the request.

        Raises:
            UnauthenticatedError: the claims do not identify a caller.
            OperatorsOnlyError: a customer calls an API that is not for customers.
        """
        caller = caller_from_event(self.current_event.raw_event)
        if caller.is_customer and not self._for_customers:
            raise OperatorsOnlyError
        return caller

    def _refuse_route(self, _error: Exception) -> NoReturn:
        self._request()  # errors of the request itself come first
        allowed = {method for method, path in self.routes if path == self.current_event.path}
        if not allowed:
            raise NotFoundError("There is no such route.")
        # API Gateway itself answers OPTIONS.
        raise MethodNotAllowedError(sorted(allowed | {"OPTIONS"}))

    def _problem(self, error: Exception) -> HttpResponse[str]:
        request_id = _request_id(self.current_event.raw_event)
        document = problem(error, request_id)
        headers: dict[str, str | list[str]] = {}
        # Our 401 has no WWW-Authenticate: API Gateway would rename it (x-amzn-Remapped-…).
        if isinstance(error, MethodNotAllowedError):
            headers["Allow"] = ", ".join(error.allowed)
        if is_retryable(error):
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if document["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("failed", exc_info=error, extra={"request_id": request_id})
        return HttpResponse(document["status"], PROBLEM_JSON, decimal_json.dumps(document), headers)


def _written(response: Response) -> HttpResponse[str]:
    """A route's response with its body as text. An error while writing it is an error of the route."""
    headers: dict[str, str | list[str]] = {**response.headers}
    if response.replayed:
        headers["Idempotency-Replayed"] = "true"
    content_type, body = None, ""
    if response.body is not None:
        content_type = response.content_type
        body = response.body if isinstance(response.body, str) else decimal_json.dumps(response.body)
    return HttpResponse(int(response.status), content_type, body, headers)


def _request(event: APIGatewayProxyEvent, caller: Caller) -> Request:
    """The event as a `Request`."""
    return Request(
        body=base64.b64decode(event.body or "")
        if event.is_base64_encoded
        else (event.body or "").encode("utf-8", "surrogatepass"),
        path=event.path_parameters,
        query=event.multi_value_query_string_parameters,
        headers=_lower_case(event.raw_event),
        request_id=_request_id(event.raw_event),
        caller=caller,
        operation=f"{event.http_method} {event.path}",
        stage_variables=event.stage_variables or {},
    )


def _request_id(event: Mapping[str, Any]) -> str:
    return (event.get("requestContext") or {}).get("requestId") or ""


def _correlation_id(event: Mapping[str, Any]) -> str:
    """The client's correlation id if it sent a valid one, else the request's id."""
    given = _lower_case(event).get(CORRELATION_HEADER.lower())
    return given if given and _is_token(given, MAX_CORRELATION_ID) else _request_id(event)


def _lower_case(event: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}


def _is_token(value: str, limit: int) -> bool:
    return bool(re.fullmatch(f"[!-~]([ -~]{{0,{limit - 2}}}[!-~])?", value))


def _cors_headers() -> dict[str, str]:
    """The CORS headers for the origin that the stack allows, if there is one.

    They are the same for every request, so that caches need not vary by Origin.
    """
    origin = settings.allowed_origin
    if not origin:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}


# Headers that a page could not read otherwise.
_EXPOSED = "ETag, Idempotency-Replayed, Link, Location, Retry-After, X-Correlation-Id"
